"""What every room needs: files that appear whole, and the interface of the models."""
