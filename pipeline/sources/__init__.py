"""Any pile of small images as rows, wherever it lies and whatever its format."""
