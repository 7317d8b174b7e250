"""Models and test images to figures, and the model card."""
