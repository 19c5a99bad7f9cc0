"""Recordings become utterances: clean, timed, split, ready to train on."""
