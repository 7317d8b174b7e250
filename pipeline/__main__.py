"""`python -m pipeline` is `vae` with the code of the current folder, as a DVC experiment in a copy needs it."""

from pipeline.cli import main

main()
