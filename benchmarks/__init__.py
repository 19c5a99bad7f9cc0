"""Measurements that stay: one line a figure, with its goal."""
