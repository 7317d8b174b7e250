"""Weights to proven ONNX; a file that is not proven is not written."""

import pipeline.training  # noqa: F401  (loads Keras before any module here does, quietly)
