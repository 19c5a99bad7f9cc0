"""What is measured on a clip: loudness, peak, noise, clipping, bandwidth, how much of it is speech and how fast."""

import math
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from prepare.active_level import active_level
from prepare.clip import Clip, Reject, Samples
from prepare.reverberation import t60_s
from recipes.records import Quality

if TYPE_CHECKING:
    import pyloudnorm

_FRAME_S = 0.032  # as voice activity counts
_SNR_LIMIT_DB = 100.0  # synthetic speech has no noise at all
_FULL_SCALE = 0.999
_FLAT_TOP, _FLAT_RUN = 0.1, 3  # below full scale: samples that are the extreme of a clip, so many in a row
_BAND_HZ, _BAND_DB = 250.0, -60.0


@dataclass(frozen=True)
class Heard:
    """What is measured on a recording, once, for all utterances that come from it."""

    snr_db: float
    clipped_share: float
    bandwidth_hz: float
    t60_s: float | None


def hear(original: Clip, recording: Clip) -> Heard:
    """Figures of a recording. `original`: as it came; `recording`: with its speech marked, and not yet trimmed.

    Clipping and bandwidth are those of the original, before a filter or another rate hides them. Noise and
    reverberation are heard in the whole recording, where there are more pauses than in an utterance.
    """
    ringing_s = t60_s(recording)
    return Heard(
        snr_db=round(snr_db(recording), 1),
        clipped_share=round(clipped_share(original), 6),
        bandwidth_hz=round(bandwidth_hz(original)),
        t60_s=None if ringing_s is None else round(ringing_s, 2),
    )


def measure(heard: Heard, utterance: Clip, text: str) -> Quality:
    """Figures of an utterance. `text`: normalised."""
    return Quality(
        loudness_lufs=round(loudness_lufs(utterance), 2),
        active_level_dbov=round(active_level(utterance.samples, utterance.rate_hz).level_dbov, 2),
        peak=round(float(np.abs(utterance.samples).max()), 4),
        snr_db=heard.snr_db,
        clipped_share=heard.clipped_share,
        clicks=len(utterance.clicks),
        bandwidth_hz=heard.bandwidth_hz,
        t60_s=heard.t60_s,
        speech_share=round(speech_share(utterance), 4),
        letters_per_s=round(letters_per_s(utterance, text), 2),
    )


def loudness_lufs(clip: Clip) -> float:
    """Integrated loudness, ITU-R BS.1770-4. Raises Reject for a clip that stays below -70 LUFS.

    The measure needs a block of 0.4 s; a shorter clip is repeated until it fills one.
    """
    repeats = math.ceil(0.4 * clip.rate_hz / len(clip.samples))
    loudness = float(_meter(clip.rate_hz).integrated_loudness(np.tile(clip.samples, repeats)))
    if not math.isfinite(loudness):
        raise Reject("silent: its loudness is below -70 LUFS")
    return loudness


@cache
def _meter(rate_hz: int) -> "pyloudnorm.Meter":
    """With its filters, designed once."""
    import pyloudnorm

    return pyloudnorm.Meter(rate_hz)


def clipped_share(clip: Clip) -> float:
    """Share of samples that are clipped, in a recording as it came: float32 (n,) or (n, channels).

    Clipped are samples at full scale (0.999 and above); and where a recording was turned down after it was
    clipped, those that equal its highest or its lowest value three times in a row or more. A lossy codec
    rounds such flat tops off, and then only what it overshoots is seen.
    """
    channels = clip.samples.reshape(len(clip.samples), -1)
    return float(np.mean([np.mean(_clipped(channels[:, number])) for number in range(channels.shape[1])]))


def _clipped(samples: Samples) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = np.abs(samples) >= _FULL_SCALE
    for extreme in (samples.max(), samples.min()):
        if _FLAT_TOP <= abs(extreme) < _FULL_SCALE:
            places = np.flatnonzero(samples == extreme)
            ends = np.flatnonzero(np.diff(places, prepend=-2, append=len(samples) + 1) > 1)
            for first, last in pairwise(ends.tolist()):
                if last - first >= _FLAT_RUN:
                    found[places[first:last]] = True
    return found


def bandwidth_hz(clip: Clip) -> float:
    """The highest frequency with energy, in steps of 250 Hz, of a recording as it came.

    That is the top of the last band of 250 Hz that lies less than 60 dB below the strongest one. A file that
    was made from another of 8 kHz reads as 4 kHz, whatever rate it claims. Noise is energy too. What is
    not found: upsampling without a filter, which leaves images; 8-bit sound, whose own noise fills the band.
    """
    from scipy.fft import rfft

    samples = clip.samples if clip.samples.ndim == 1 else clip.samples.mean(axis=1)
    size = 2 ** math.ceil(math.log2(clip.rate_hz * _FRAME_S))
    samples = np.pad(samples, (0, max(0, size - len(samples))))
    frames = samples[: len(samples) // size * size].reshape(-1, size) * np.hanning(size).astype(np.float32)
    spectrum = rfft(frames, axis=1)
    power: NDArray[np.float64] = np.mean(spectrum.real**2 + spectrum.imag**2, axis=0, dtype=np.float64)
    band = (np.arange(len(power)) * (clip.rate_hz / size / _BAND_HZ)).astype(int)
    bands = np.bincount(band, power) / np.bincount(band)
    heard = np.flatnonzero(bands > bands.max() * 10 ** (_BAND_DB / 10))
    return min(clip.rate_hz / 2, float(heard[-1] + 1) * _BAND_HZ) if len(heard) else 0.0


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


def letters_per_s(clip: Clip, text: str) -> float:
    """How fast `text` was said: its letters a second of speech, pauses left out.

    Marks on letters are not counted. Languages and scripts differ: Arabic script leaves short vowels out.
    """
    speech_s = max(clip.duration_s * speech_share(clip), _FRAME_S)
    return sum(letter.isalpha() for letter in text) / speech_s


def frame_power(samples: Samples, frame: int) -> NDArray[np.float64]:
    """Mean square of each frame of `frame` samples; what is left over at the end is not looked at."""
    count = len(samples) // frame
    framed = samples[: count * frame].reshape(count, frame).astype(np.float64)
    power: NDArray[np.float64] = np.mean(framed * framed, axis=1)
    return power
