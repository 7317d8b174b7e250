"""A batch pipeline around a variational autoencoder of MNIST digits."""

__version__ = "0.1.0"
