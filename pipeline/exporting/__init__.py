"""Weights to proven ONNX; a file that is not proven is not written."""

import os

# tf2onnx converts what TensorFlow runs; the weights may come from any backend.
os.environ["KERAS_BACKEND"] = "tensorflow"

import pipeline.training  # noqa: F401  (loads Keras before any module here does, quietly)
