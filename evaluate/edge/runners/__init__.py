"""What runs an exported model on a device: each file stands alone, and is laid into the export as `run.py`."""
