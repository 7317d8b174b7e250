"""Arrays to weights: Keras on TensorFlow, or on JAX if KERAS_BACKEND says so."""

import os

from pipeline.errors import TrainingError
from pipeline.training.quiet import native_stderr_hidden

# TensorFlow greets with a dozen lines whatever its log level, and needs the level for later ones.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
_backend = os.environ.setdefault("KERAS_BACKEND", "tensorflow")
if _backend not in ("tensorflow", "jax"):
    raise TrainingError(f"KERAS_BACKEND is {_backend}; training runs on tensorflow or jax")
with native_stderr_hidden():
    import keras  # noqa: F401
