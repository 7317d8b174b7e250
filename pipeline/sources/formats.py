"""What a picture says of itself, before it is decoded."""

SUFFIXES = ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".tif", ".tiff", ".gif"
