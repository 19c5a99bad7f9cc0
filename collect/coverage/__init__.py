"""Who recorded how much, for what, which sounds, and what to record next: `python -m collect.coverage RECIPE`."""
