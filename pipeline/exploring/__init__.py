"""Models and latents to a page on which a person moves through the latent space, computed in their browser."""
