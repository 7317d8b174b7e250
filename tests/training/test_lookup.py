import numpy as np

from pipeline.shared.interface import IMAGE_SHAPE
from pipeline.training.lookup import ImageLookup

IMAGES = np.random.default_rng(0).integers(0, 256, (10, *IMAGE_SHAPE), np.uint8)
NUMBERS = np.arange(10, dtype=np.int32)


def test_numbers_become_images() -> None:
    lookup = ImageLookup(IMAGES, shuffled=7, seed=0)
    np.testing.assert_array_equal(lookup(NUMBERS), IMAGES)


def test_an_epoch_has_an_order_of_its_own_that_leaves_validation_in_place() -> None:
    lookup = ImageLookup(IMAGES, shuffled=7, seed=0)
    seen = []
    for epoch in range(3):
        lookup.shuffle(epoch)
        images = np.asarray(lookup(NUMBERS))
        np.testing.assert_array_equal(images[7:], IMAGES[7:])
        assert sorted(map(bytes, images[:7])) == sorted(map(bytes, IMAGES[:7]))
        seen.append(images.tobytes())
    assert len(set(seen)) == 3


def test_the_order_depends_on_seed_and_epoch_alone() -> None:
    one, later, other = ImageLookup(IMAGES, 7, seed=0), ImageLookup(IMAGES, 7, seed=0), ImageLookup(IMAGES, 7, seed=1)
    for epoch in range(3):
        one.shuffle(epoch)
    later.shuffle(2)
    other.shuffle(2)
    np.testing.assert_array_equal(one(NUMBERS), later(NUMBERS))
    assert not np.array_equal(one(NUMBERS), other(NUMBERS))
