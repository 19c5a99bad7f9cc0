"""How corpora are laid out on disk: one function a layout, each yielding rows for `collect.ingest`."""
