"""The recording booth: pages, sittings, takes, prompts and notices; `collect.record` runs it."""
