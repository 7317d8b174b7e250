"""Build and serve a page for exploring the latent space; the models run in the browser."""
