"""Estimates of many groups, each drawn towards none the more, the less is known of it.

Of twenty groups without any difference the smallest will look worst, for it varies most. If true gaps are spread
about nil with a variance that all groups tell of together, the best guess of one gap is its own times the share of
its variance that is no noise: partial pooling, or empirical Bayes (Efron and Morris, Journal of the American
Statistical Association 70(350), 1975; for groups of unlike sizes Gelman, Hill and Yajima, Journal of Research on
Educational Effectiveness 5(2), 2012).
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def spread(estimates: ArrayLike, se: ArrayLike) -> float:
    """The variance of true values about nil: 0 where the estimates (groups,) differ no more than their errors do.

    The moment estimator of Paule and Mandel, Journal of Research of the National Bureau of Standards 87(5), 1982.
    """
    from scipy.optimize import brentq

    found, noise = np.asarray(estimates, dtype=float), np.square(np.asarray(se, dtype=float))

    def surplus(variance: float) -> float:
        return float(np.sum(found**2 / (variance + noise))) - len(found)

    if surplus(0.0) <= 0:
        return 0.0
    return float(brentq(surplus, 0.0, float(np.sum(found**2)), xtol=1e-12))


def shrunken(estimates: ArrayLike, se: ArrayLike) -> NDArray[np.float64]:
    """The estimates (groups,) drawn towards nil; `se`: their standard errors, above 0."""
    found, noise = np.asarray(estimates, dtype=float), np.square(np.asarray(se, dtype=float))
    variance = spread(found, se)
    return np.asarray(found * variance / (variance + noise), dtype=np.float64)
