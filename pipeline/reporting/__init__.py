"""Turn models, latents and figures into pictures and a page."""
