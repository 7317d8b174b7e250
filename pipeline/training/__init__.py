"""Arrays to weights: Keras on any of its backends, TensorFlow by default."""

import os

# TensorFlow reads it once, when it is imported. Its notes on processors and drivers are no news: the device
# that training runs on is named by the pipeline itself.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
