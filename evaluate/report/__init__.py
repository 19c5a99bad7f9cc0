"""What an evaluation found, for people: `python -m evaluate.report RECIPE`."""

from evaluate.report.page import write

__all__ = ["write"]
