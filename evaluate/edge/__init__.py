"""A model for devices without torch: merged weights, ONNX, ONNX of eight bits, checked against the original."""
