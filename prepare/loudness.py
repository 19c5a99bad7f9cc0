"""How loud a clip is over its whole length: ITU-R BS.1770-4."""

import math
from functools import cache

import numpy as np
from numpy.typing import NDArray

from prepare.clip import Clip, Reject

_BLOCK_S, _STEP_S = 0.4, 0.1
_OFFSET, _ABSOLUTE_LUFS, _RELATIVE_LU = -0.691, -70.0, -10.0


def loudness_lufs(clip: Clip) -> float:
    """Integrated loudness, ITU-R BS.1770-4. Raises Reject for a clip that stays below -70 LUFS.

    The measure needs a block of 0.4 s; a shorter clip is repeated until it fills one.
    """
    power = _block_power(clip)
    power = power[power > _power(_ABSOLUTE_LUFS)]
    if not len(power):
        raise Reject("silent: its loudness is below -70 LUFS")
    power = power[power > power.mean() * 10 ** (_RELATIVE_LU / 10)]
    return _OFFSET + 10 * math.log10(power.mean())


def _block_power(clip: Clip) -> NDArray[np.float64]:
    """K-weighted mean square of blocks of 0.4 s that begin every 0.1 s: float64 (blocks,)."""
    from scipy.signal import sosfilt

    samples = clip.samples
    if (repeats := math.ceil(_BLOCK_S * clip.rate_hz / len(samples))) > 1:
        samples = np.tile(samples, repeats)
    weighted = sosfilt(_k_weighting(clip.rate_hz), samples)
    power = np.cumsum(np.square(weighted, out=weighted))
    count = round((len(samples) / clip.rate_hz - _BLOCK_S) / _STEP_S) + 1
    # Counted as pyloudnorm does: the last block may reach beyond the end by half a step.
    begins = (np.arange(count) * _STEP_S * clip.rate_hz).astype(int)
    ends = np.minimum(((np.arange(count) * _STEP_S + _BLOCK_S) * clip.rate_hz).astype(int), len(power))
    before = np.where(begins > 0, power[begins - 1], 0)
    found: NDArray[np.float64] = (power[ends - 1] - before) / (_BLOCK_S * clip.rate_hz)
    return found


@cache
def _k_weighting(rate_hz: int) -> NDArray[np.float64]:
    """The two filters of the standard, as pyloudnorm designs them for any rate: second-order sections (2, 6)."""
    import pyloudnorm

    stages = pyloudnorm.Meter(rate_hz)._filters.values()
    return np.array([[*(stage.passband_gain * stage.b), *stage.a] for stage in stages])


def _power(lufs: float) -> float:
    return float(10 ** ((lufs - _OFFSET) / 10))
