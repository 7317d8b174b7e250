"""Figures in nats, from the ONNX models."""
