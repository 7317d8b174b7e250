"""Weights to proven ONNX; a file that is not proven is not written."""
