"""The kinds of piles of images that `pipeline.data.images` opens."""
