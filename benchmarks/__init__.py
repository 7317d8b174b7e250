"""What the README's figures came from, runnable: `make bench`."""
