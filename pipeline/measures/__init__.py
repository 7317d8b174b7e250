"""Figures from the ONNX models: in nats, and of how good samples are."""
