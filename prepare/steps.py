"""The audio steps: pure functions from clip to clip, in the order that `prepare/chain.py` calls them."""

from dataclasses import replace
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from prepare.active_level import active_level
from prepare.clip import Clip, Reject, Samples
from prepare.quality import loudness_lufs

PEAK = 0.99  # samples never go beyond, so that 16-bit FLAC never clips them
_SILENCE = 1e-4  # -80 dB of full scale: nothing was recorded
_ORDER = 2  # of the high-pass, each way
_ROOM_S, _FADE_S = 0.05, 0.01  # of its own silence that a clip needs to be lengthened by it; else it fades


def mono(clip: Clip) -> Clip:
    """The mean of the channels: float32 (n, channels) → (n,).

    Channels in opposite phase cancel out in a mean; then the louder one is taken.
    """
    if clip.samples.ndim == 1:
        return clip
    mean = clip.samples.mean(axis=1, dtype=np.float32)
    power = np.mean(np.square(clip.samples), axis=0)
    if np.mean(np.square(mean)) < 0.01 * power.max():
        mean = np.ascontiguousarray(clip.samples[:, int(power.argmax())])
    return replace(clip, samples=mean)


def resample(clip: Clip, rate_hz: int, quality: Literal["HQ", "VHQ"] = "VHQ") -> Clip:
    """Another sampling rate, by soxr."""
    import soxr

    if clip.rate_hz == rate_hz:
        return clip
    samples = soxr.resample(clip.samples, clip.rate_hz, rate_hz, quality=quality)
    return replace(clip, samples=samples.astype(np.float32, copy=False), rate_hz=rate_hz)


def require_sound(clip: Clip, min_duration_s: float) -> Clip:
    """Raise Reject for a recording that is too short from the start, damaged, or in which nothing was recorded."""
    if clip.duration_s < min_duration_s:
        raise Reject(f"too short: {clip.duration_s:.2f} s, prepare.min_duration_s is {min_duration_s:g}")
    peak = float(np.abs(clip.samples).max())
    if not np.isfinite(peak):
        count = int(np.sum(~np.isfinite(clip.samples)))
        raise Reject(f"damaged: {count} samples are not numbers (NaN or infinite)")
    if peak < _SILENCE:
        raise Reject("silent: nothing in it is above -80 dB of full scale")
    return clip


def high_pass(clip: Clip, corner_hz: float) -> Clip:
    """Take away what is slower than speech: an offset (DC) whole, and rumble below `corner_hz`, which loses 3 dB.

    A Butterworth filter of second order, run forwards and backwards: nothing is delayed and no pulse is smeared
    (zero phase). The corner of each run lies lower, so that both together lose 3 dB at `corner_hz`. Raises
    Reject for a clip that was nothing else.
    """
    from scipy.signal import sosfiltfilt

    if len(clip.samples) < 10:
        raise Reject(f"too short: {len(clip.samples)} samples of {clip.rate_hz} a second are too few to filter")
    level = np.mean(clip.samples, dtype=np.float64)  # taken first, for the filter's start is not its steady state
    reach = min(len(clip.samples) - 1, round(2 * clip.rate_hz / corner_hz))
    samples = sosfiltfilt(_sections(corner_hz, clip.rate_hz), clip.samples - level, padlen=reach).astype(np.float32)
    if np.abs(samples).max() < _SILENCE:
        raise Reject("silent: nothing in it above prepare.high_pass_hz is louder than -80 dB of full scale")
    return replace(clip, samples=samples)


def trim(clip: Clip, pad_s: float) -> Clip:
    """From `pad_s` before the first speech to `pad_s` after the last; pauses inside stay."""
    if not clip.speech:
        return clip
    return cut(clip, clip.speech[0][0] - pad_s, clip.speech[-1][1] + pad_s)


def cut(clip: Clip, begin_s: float, end_s: float) -> Clip:
    """A stretch of a clip, as far as there is sound."""
    start = max(0, round(begin_s * clip.rate_hz))
    end = len(clip.samples) if end_s >= clip.duration_s else round(end_s * clip.rate_hz)
    begins_s, length_s = start / clip.rate_hz, (end - start) / clip.rate_hz
    moved = None
    if clip.speech is not None:
        inside = ((max(0.0, a - begins_s), min(length_s, b - begins_s)) for a, b in clip.speech)
        moved = tuple((a, b) for a, b in inside if a < b)
    clicks = tuple(at_s - begins_s for at_s in clip.clicks if begins_s <= at_s < begins_s + length_s)
    return replace(clip, samples=clip.samples[start:end], speech=moved, clicks=clicks)


@cache
def _sections(corner_hz: float, rate_hz: int) -> NDArray[np.float64]:
    """The filter of `high_pass`, designed once."""
    from scipy.signal import butter

    each = np.tan(np.pi * corner_hz / rate_hz) * (np.sqrt(2) - 1) ** (1 / (2 * _ORDER))
    sections: NDArray[np.float64] = butter(_ORDER, 2 / np.pi * np.arctan(each), "highpass", output="sos")
    return sections


def set_edges(clip: Clip, edge_s: float) -> Clip:
    """Exactly `edge_s` before the first speech and after the last, for synthesis that learns to start and to stop.

    Where a recording has less, it is lengthened by its own silence, mirrored, so that the noise of the room does
    not stop at an edge. Where it has under 0.05 s of it, which would ring when repeated, it fades out within
    10 ms of speech's end and digital silence follows.
    """
    if not clip.speech:
        return clip
    kept = cut(clip, clip.speech[0][0] - edge_s, clip.speech[-1][1] + edge_s)
    assert kept.speech
    edge = round(edge_s * clip.rate_hz)
    lead = max(0, round(kept.speech[0][0] * clip.rate_hz))
    tail = max(0, len(kept.samples) - round(kept.speech[-1][1] * clip.rate_hz))
    samples = _lengthened(kept.samples, lead, edge - lead, clip.rate_hz)
    samples = _lengthened(samples[::-1], tail, edge - tail, clip.rate_hz)[::-1]
    shift_s = max(0, edge - lead) / clip.rate_hz
    return replace(
        kept,
        samples=np.ascontiguousarray(samples),
        speech=tuple((start_s + shift_s, end_s + shift_s) for start_s, end_s in kept.speech),
        clicks=tuple(at_s + shift_s for at_s in kept.clicks),
    )


def _lengthened(samples: Samples, silent: int, more: int, rate_hz: int) -> Samples:
    """`more` samples put before those there are, of which the first `silent` are no speech."""
    if more <= 0:
        return samples
    if silent >= _ROOM_S * rate_hz:
        room = np.pad(samples[:silent], (more, 0), mode="reflect")
        return np.concatenate([room, samples[silent:]])
    fade = min(len(samples), round(_FADE_S * rate_hz))
    rising = np.concatenate([samples[:fade] * np.linspace(0, 1, fade, dtype=np.float32), samples[fade:]])
    return np.concatenate([np.zeros(more, np.float32), rising])


def require_duration(clip: Clip, min_duration_s: float, max_duration_s: float) -> Clip:
    """Raise Reject for a clip outside the limits.

    Without alignment a long recording is not cut at its pauses: its transcript cannot be divided without
    knowing which words fall where.
    """
    if clip.duration_s < min_duration_s:
        raise Reject(f"too short: {clip.duration_s:.2f} s of speech, prepare.min_duration_s is {min_duration_s:g}")
    if clip.duration_s > max_duration_s:
        raise Reject(
            f"too long: {clip.duration_s:.1f} s, prepare.max_duration_s is {max_duration_s:g}; "
            "cut it into sentences with a transcript each, or set prepare.align"
        )
    return clip


def set_loudness(clip: Clip, target_lufs: float) -> Clip:
    """Bring to a loudness (ITU-R BS.1770-4); less where peaks would pass 0.99 of full scale.

    Raises Reject for a clip that stays below the measure's gate of -70 LUFS.
    """
    gain = 10 ** ((target_lufs - loudness_lufs(clip)) / 20)
    gain = min(gain, PEAK / float(np.abs(clip.samples).max()))
    return replace(clip, samples=(clip.samples * gain).astype(np.float32))


def set_active_level(clip: Clip, target_dbov: float) -> Clip:
    """Bring speech, without its pauses, to a level (ITU-T P.56); less where peaks would pass 0.99 of full scale."""
    level_dbov, activity = active_level(clip.samples, clip.rate_hz)
    if not activity:
        raise Reject("silent: its active speech level is below what ITU-T P.56 measures")
    gain = min(10 ** ((target_dbov - level_dbov) / 20), PEAK / float(np.abs(clip.samples).max()))
    return replace(clip, samples=(clip.samples * gain).astype(np.float32))


def limit_peak(clip: Clip) -> Clip:
    """Bring samples beyond ±0.99 (a lossy codec overshoots) back by turning the whole clip down."""
    peak = float(np.abs(clip.samples).max())
    return clip if peak <= PEAK else replace(clip, samples=(clip.samples * (PEAK / peak)).astype(np.float32))
