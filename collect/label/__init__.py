"""Transcription by people: clips to Label Studio, transcripts and agreement back."""
