"""Whether two systems differ for these very listeners and sentences: a permutation test of paired ratings.

If it made no difference which of two systems a clip is of, their two ratings in a trial could as well be swapped, in
every trial by itself. Source: Fisher, "The design of experiments", 1935, section 21; ITU-R BS.1534-3, attachment 3,
names such tests where ratings are not normal. Nothing is claimed of other people or other sentences.
"""

from itertools import product

import numpy as np
from numpy.typing import ArrayLike

from evaluate.statistics.outcome import NotEnough
from evaluate.statistics.ranks import Test

_FEWEST = 6  # with five pairs the smallest p is 2 of 32
_ALL = 15  # pairs up to which every way of swapping is tried
_AT_ONCE = 4_000_000  # signs in memory


def swapped(differences: ArrayLike, draws: int, seed: int) -> Test | NotEnough:
    """Differences (n,), one a listener and sentence: their mean, and how often swaps give one as far from nil.

    Exact up to 15 differences; else by `draws` random swaps, of which the one that was seen is counted as one.
    """
    found = np.asarray(differences, dtype=float)
    told = found[found != 0]
    if len(told) < _FEWEST:
        return NotEnough("fewer than six pairs of ratings that differ")
    reached = abs(told.sum()) * (1 - 1e-12)
    if len(told) <= _ALL:
        sums = np.array(list(product((1.0, -1.0), repeat=len(told)))) @ told
        return Test(float(found.mean()), float(np.mean(np.abs(sums) >= reached)), len(found))
    draw, far, left = np.random.default_rng(seed), 0, draws
    while left:
        now = min(left, max(1, _AT_ONCE // len(told)))
        signs = 2.0 * draw.integers(0, 2, (now, len(told)), dtype=np.int8) - 1
        far += int(np.sum(np.abs(signs @ told) >= reached))
        left -= now
    return Test(float(found.mean()), (1 + far) / (1 + draws), len(found))
