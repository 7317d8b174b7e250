"""Turn models and test images into figures and a model card."""
