"""What is measured on a clip: loudness, peak, noise, clipping, how much of it is speech."""

import math

import numpy as np
from numpy.typing import NDArray

from prepare.clip import Clip, Reject, Samples
from recipes.records import Quality

_FRAME_S = 0.032  # as voice activity counts
_SNR_LIMIT_DB = 100.0  # synthetic speech has no noise at all


def measure(original: Clip, recording: Clip, utterance: Clip) -> Quality:
    """Figures of a finished utterance.

    Clipping is counted in the original, as it came; noise is measured in the whole recording, where there
    is more silence than in the utterance that was cut from it.
    """
    return Quality(
        loudness_lufs=round(loudness_lufs(utterance), 2),
        peak=round(float(np.abs(utterance.samples).max()), 4),
        snr_db=round(snr_db(recording), 1),
        clipped_share=clipped_share(original),
        speech_share=round(speech_share(utterance), 4),
    )


def loudness_lufs(clip: Clip) -> float:
    """Integrated loudness, ITU-R BS.1770-4. Raises Reject for a clip that stays below -70 LUFS.

    The measure needs a block of 0.4 s; a shorter clip is repeated until it fills one.
    """
    import pyloudnorm

    repeats = math.ceil(0.4 * clip.rate_hz / len(clip.samples))
    loudness = float(pyloudnorm.Meter(clip.rate_hz).integrated_loudness(np.tile(clip.samples, repeats)))
    if not math.isfinite(loudness):
        raise Reject("silent: its loudness is below -70 LUFS")
    return loudness


def clipped_share(clip: Clip) -> float:
    """Share of samples at full scale (0.999 and above) of a recording as it came."""
    return float(np.mean(np.abs(clip.samples) >= 0.999))


def snr_db(clip: Clip) -> float:
    """Speech power over noise power, from -100 to 100 dB. Measured before `trim`, while there is silence.

    Power is taken in 32 ms frames: the mean of those in speech, and the median of those outside, so that one
    cough is not noise. Frames of digital silence are no noise; where there is no other silence, the limit is
    returned. With fewer than 3 frames outside speech, the quietest twentieth of all frames stands for the
    noise, which makes a figure too low rather than too high.
    """
    frame = round(_FRAME_S * clip.rate_hz)
    frame_s, power = frame / clip.rate_hz, frame_power(clip.samples, frame)
    inside = np.zeros(len(power), bool)
    for start_s, end_s in clip.speech or ((0.0, clip.duration_s),):
        inside[round(start_s / frame_s) : round(end_s / frame_s)] = True
    sounding = power > 1e-10
    speech, outside = power[inside & sounding], power[~inside & sounding]
    if not len(speech):
        return -_SNR_LIMIT_DB
    if len(outside) < 3:
        if np.sum(~inside) >= 3:
            return _SNR_LIMIT_DB
        outside = np.sort(power[sounding])[: max(1, len(power) // 20)]
    noise = float(np.median(outside))
    ratio = max(float(speech.mean()) - noise, 1e-12) / noise
    return max(-_SNR_LIMIT_DB, min(_SNR_LIMIT_DB, 10 * math.log10(ratio)))


def speech_share(clip: Clip) -> float:
    """Share of the duration in which there is speech; 1 where it was not looked for."""
    if clip.speech is None:
        return 1.0
    return min(1.0, sum(end_s - start_s for start_s, end_s in clip.speech) / clip.duration_s)


def frame_power(samples: Samples, frame: int) -> NDArray[np.float64]:
    """Mean square of each frame of `frame` samples; what is left over at the end is not looked at."""
    count = len(samples) // frame
    framed = samples[: count * frame].reshape(count, frame).astype(np.float64)
    power: NDArray[np.float64] = np.mean(framed * framed, axis=1)
    return power
