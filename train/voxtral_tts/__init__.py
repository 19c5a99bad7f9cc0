"""Voxtral TTS: the network, which `transformers` has not, and how its published weights become ours."""
