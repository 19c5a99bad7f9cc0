"""What stands behind `collect.audio`: structure of containers, a decoder in its own process, limits."""
