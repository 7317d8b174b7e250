"""ONNX to latents and images, on ONNX Runtime alone."""

from pipeline.inference.session import Decoder, Encoder

__all__ = ["Decoder", "Encoder"]
