"""A batch pipeline around a variational autoencoder of digits and other small images."""

import os

__version__ = "0.1.0"

# ONNX Runtime reports its use to its makers unless the environment forbids it before it is imported; there is no other
# way to be in time. Here, since nothing of the package is imported before this; a setting of the user's own stands.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
