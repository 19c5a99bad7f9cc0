"""Compare systems: by ear, blind, and by measurement."""
