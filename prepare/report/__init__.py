"""What preparation kept and left out, of whom, and why: `python -m prepare.report RECIPE`."""
