"""Whether a difference is too small to matter: not finding one does not say so, this does.

Two one-sided tests: Schuirmann, Journal of Pharmacokinetics and Biopharmaceutics 15(6), 1987. The margin is fixed
before the test.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Equivalence:
    """The 90 % interval of a difference against a margin."""

    margin: float
    low: float
    high: float
    p: float
    equivalent: bool


def tost(estimate: float, se: float, df: float, margin: float) -> Equivalence:
    """Whether a difference lies within ± margin, at the 5 % level: its 90 % interval does."""
    from scipy.stats import t

    half = float(t.ppf(0.95, df)) * se
    p = float(max(t.sf((estimate + margin) / se, df), t.sf((margin - estimate) / se, df))) if se > 0 else float("nan")
    return Equivalence(
        margin, estimate - half, estimate + half, p, -margin < estimate - half < estimate + half < margin
    )


def detectable(se: float, df: float, power: float = 0.8) -> float:
    """The smallest difference that a test with this standard error finds with this power, at the 5 % level."""
    from scipy.stats import t

    return float(t.ppf(0.975, df) + t.ppf(power, df)) * se
