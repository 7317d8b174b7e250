"""What checks and measures a bundle: no stage depends on it."""
