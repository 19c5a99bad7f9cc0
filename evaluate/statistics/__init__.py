"""Figures with their uncertainty: one file a method."""

from evaluate.statistics.bootstrap import Figure, crossed_mean, mean, ratio, ratio_difference

__all__ = ["Figure", "crossed_mean", "mean", "ratio", "ratio_difference"]
