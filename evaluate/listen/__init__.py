"""The blind listening test in the browser."""
