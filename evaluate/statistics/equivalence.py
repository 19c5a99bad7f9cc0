"""Whether a difference is too small to matter: not finding one does not say so, this does.

Two one-sided tests: Schuirmann, Journal of Pharmacokinetics and Biopharmaceutics 15(6), 1987. The margin is fixed
before the test.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Equivalence:
    """The interval of a difference at 1 - 2 alpha, 90 % as a rule, against a margin."""

    margin: float
    low: float
    high: float
    p: float
    equivalent: bool


def tost(estimate: float, se: float, df: float, margin: float, alpha: float = 0.05) -> Equivalence:
    """Whether a difference lies within ± margin, with so many false alarms: its interval at 1 - 2 alpha does."""
    from scipy.stats import t

    half = float(t.ppf(1 - alpha, df)) * se
    p = float(max(t.sf((estimate + margin) / se, df), t.sf((margin - estimate) / se, df))) if se > 0 else float("nan")
    return Equivalence(
        margin, estimate - half, estimate + half, p, -margin < estimate - half < estimate + half < margin
    )


def detectable(se: float, df: float, power: float = 0.8, alpha: float = 0.05) -> float:
    """The smallest difference that a two-sided test with this standard error finds with this power."""
    from scipy.stats import t

    return float(t.ppf(1 - alpha / 2, df) + t.ppf(power, df)) * se
