from collections.abc import Callable
from functools import partial

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.shared.interface import IMAGE_SHAPE
from pipeline.training.lookup import ImageLookup
from pipeline.training.loop import Blocks, BlockVAE
from pipeline.training.model import VAE, build_decoder, build_encoder

Floats = NDArray[np.float32]


@given(count=st.integers(1, 300), batch_size=st.integers(1, 50), steps=st.integers(1, 20))
def test_blocks_hold_each_number_once_and_drop_less_than_a_batch(count: int, batch_size: int, steps: int) -> None:
    blocks = Blocks(count, batch_size, steps)
    found = [blocks[number][0] for number in range(len(blocks))]
    assert sum(map(len, found)) == blocks.steps
    assert {block.shape[1] for block in found} == {min(batch_size, count)}
    assert all(len(block) == steps for block in found[:-1])
    numbers = np.concatenate([block.ravel() for block in found])
    np.testing.assert_array_equal(numbers, np.arange(len(numbers)))
    assert 0 <= count - len(numbers) < batch_size


@pytest.mark.parametrize("looped", [True, False])
def test_a_block_trains_as_its_batches_one_by_one(looped: bool) -> None:
    images = np.random.default_rng(0).integers(0, 256, (60, *IMAGE_SHAPE), np.uint8)

    def trained(make: Callable[..., VAE], x: object, **how: object) -> tuple[list[Floats], dict[str, list[float]]]:
        keras.utils.set_random_seed(0)
        vae = make(build_encoder(2, [16]), build_decoder(2, [16]), seed=0)
        noise = vae.sampling.seed_generator.state
        noise.assign(np.zeros(noise.shape, noise.dtype))  # building drew some
        vae.compile(optimizer=keras.optimizers.Adam(0.01))
        history = vae.fit(x, epochs=2, shuffle=False, verbose=0, **how).history
        return [*vae.encoder.get_weights(), *vae.decoder.get_weights()], history

    weights, losses = trained(VAE, images, batch_size=20)
    lookup = ImageLookup(images, shuffled=len(images), seed=0)
    block = partial(BlockVAE, lookup=lookup, looped=looped)
    weights_of_blocks, losses_of_blocks = trained(block, Blocks(60, 20, 2 if looped else 1))
    for found, expected in zip(weights_of_blocks, weights, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)
    for name, values in losses.items():
        np.testing.assert_allclose(losses_of_blocks[name], values, rtol=1e-4)
