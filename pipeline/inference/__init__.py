"""ONNX to latents, images and scores, on ONNX Runtime alone."""

from pipeline.inference.session import Decoder, Encoder, Scorer

__all__ = ["Decoder", "Encoder", "Scorer"]
