"""Latents and images to numbers and pictures, from the ONNX files that ship."""
