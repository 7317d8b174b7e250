"""Arrays to weights: Keras on any of its backends, TensorFlow by default."""

import os

from pipeline.training.quiet import native_stderr_hidden

# TensorFlow greets with a dozen lines whatever its log level, and needs the level for later ones.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
with native_stderr_hidden():
    import keras  # noqa: F401
