import numpy as np

from benchmarks.samples import known

IMAGES = np.random.default_rng(0).integers(0, 256, (400, 28, 28), np.uint8)
LABELS = (np.arange(400) % 10).astype(np.uint8)


def test_sets_are_what_their_names_say() -> None:
    sets = known(IMAGES, LABELS, 200, seed=0)
    rows = {image.tobytes(): label for image, label in zip(IMAGES, LABELS, strict=True)}
    assert [len(images) for images in sets.values()] == [200] * 5
    assert {rows[image.tobytes()] for image in sets["floor"]} == set(range(10))
    assert {rows[image.tobytes()] for image in sets["the first half of the classes"]} == set(range(5))
    assert len(np.unique(sets["10 of them 20 times"], axis=0)) == 10


def test_without_labels_there_is_no_half_of_the_classes() -> None:
    assert len(known(IMAGES, None, 200, seed=0)) == 4
