"""Papers for a public buyer, filled from the artefacts: what a machine knows; the rest is left blank and listed."""
