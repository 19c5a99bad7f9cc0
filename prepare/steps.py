"""The audio steps: pure functions from clip to clip, in the order that `prepare/chain.py` calls them."""

from dataclasses import replace
from typing import Literal

import numpy as np

from prepare.clip import Clip, Reject
from prepare.quality import loudness_lufs, snr_db

PEAK = 0.99  # samples never go beyond, so that 16-bit FLAC never clips them
_SILENCE = 1e-4  # -80 dB of full scale: nothing was recorded


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
    """Raise Reject for a recording that is too short from the start, or in which nothing was recorded."""
    if clip.duration_s < min_duration_s:
        raise Reject(f"too short: {clip.duration_s:.2f} s, prepare.min_duration_s is {min_duration_s:g}")
    if np.abs(clip.samples).max() < _SILENCE:
        raise Reject("silent: nothing in it is above -80 dB of full scale")
    return clip


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
    return replace(clip, samples=clip.samples[start:end], speech=moved)


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


def limit_peak(clip: Clip) -> Clip:
    """Bring samples beyond ±0.99 (a lossy codec overshoots) back by turning the whole clip down."""
    peak = float(np.abs(clip.samples).max())
    return clip if peak <= PEAK else replace(clip, samples=(clip.samples * (PEAK / peak)).astype(np.float32))


def require_snr(clip: Clip, min_snr_db: float) -> Clip:
    """Raise Reject for a clip noisier than asked."""
    if (found := snr_db(clip)) < min_snr_db:
        raise Reject(f"noisy: {found:.1f} dB, prepare.min_snr_db is {min_snr_db:g}")
    return clip
