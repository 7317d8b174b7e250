"""Encoder, decoder and scorer on ONNX Runtime: arrays in, arrays out, on all cores, whatever their size."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import FormatError, ModelError
from pipeline.inference.model import AUTO, Floats, OnnxModel
from pipeline.inference.parallel import map_ordered
from pipeline.inference.usual import Usual
from pipeline.shared.interface import DECODER, ENCODER, FLOAT32, IMAGE_SHAPE, SCORER, Interface

Pixels = NDArray[np.uint8]

ROWS_PER_CALL = 4096  # of one thread; a larger array is shared among the cores

_HALF_A_LEVEL = 0.5 / 255
# As integers, the bits of 0 and of positive floats grow with their value, those of negative ones and NaN are larger.
_HIGHEST = np.float32(1 + _HALF_A_LEVEL).view(np.uint32)


_OF_THE_MODEL = "params_sha256", "data_sha256", "validation_negative_elbo"  # the last by variant


class _Half(OnnxModel):
    """One half of the autoencoder, or both; see `OnnxModel`."""

    _interface: Interface
    _batch_size: int  # measured: with more rows what a layer gives leaves the cache, with fewer the matrix units wait

    def __init__(
        self,
        path: Path | str,
        *,
        precision: str = FLOAT32,
        provider: str = AUTO,
        workers: int | None = None,
        batch_size: int | None = None,
    ) -> None:
        """Open it as `OnnxModel` does."""
        super().__init__(
            path,
            self._interface,
            precision=precision,
            provider=provider,
            workers=workers,
            batch_size=self._batch_size if batch_size is None else batch_size,
        )

    def _each_batch(self, count: int, work: Callable[[slice], None]) -> None:
        """Call `work` for batches that make up `count` rows, on this thread if they are few."""

        def several(start: int) -> None:
            end = min(start + ROWS_PER_CALL, count)
            for first in range(start, end, self.batch_size):
                work(slice(first, min(first + self.batch_size, end)))

        if count <= ROWS_PER_CALL:
            several(0)
        else:
            for _ in map_ordered(several, range(0, count, ROWS_PER_CALL), self.workers):
                pass


class Encoder(_Half):
    """Images to the means and log variances of their latents."""

    _interface, _batch_size = ENCODER, 256

    def __call__(self, images: Pixels) -> tuple[Floats, Floats]:
        """Encode uint8 `[n, 28, 28]` to `z_mean` and `z_log_var`, float32 `[n, latent_dim]` each.

        Raises:
            FormatError: the images have another type or shape.
            ModelError: the model fails, or gives latents that are not finite.
        """
        check_images(images)
        z_mean, z_log_var = (np.empty((len(images), self.latent_dim), np.float32) for _ in range(2))

        def encode(rows: slice) -> None:
            z_mean[rows], z_log_var[rows] = self.run(images[rows])

        self._each_batch(len(images), encode)
        if not (np.isfinite(z_mean).all() and np.isfinite(z_log_var).all()):
            raise ModelError(f"{self.path} gives latents that are not finite; train and export it again")
        return z_mean, z_log_var


class Scores(NamedTuple):
    """How unusual images are: float32 `[n]` each, never below 0."""

    excess: Floats
    """The sum of the next two, in nats."""
    reconstruction: Floats
    """Sum over pixels of KL(Bernoulli(x) || Bernoulli(p)), p being the reconstruction of x from its latents' mean."""
    kl: Floats
    """KL divergence of the latents' Gaussian from the prior N(0, I)."""
    score: Floats
    """excess / sqrt(1 + ink), ink being the sum of the grey levels x: the larger, the more unusual."""


class Scorer(_Half):
    """Images to how unusual they are beside those that the model was trained on.

    Attributes:
        usual: the scores of held-out images, which makes a percentile of any other; None if the file doesn't say.
    """

    _interface, _batch_size = SCORER, 128

    def __init__(self, path: Path | str, **options: Any) -> None:
        """Open it as `OnnxModel` does."""
        super().__init__(path, **options)
        self.usual = Usual.read(self.facts)

    def __call__(self, images: Pixels) -> Scores:
        """Score uint8 `[n, 28, 28]`; the same image has the same score in any batch.

        Raises:
            FormatError: the images have another type or shape.
            ModelError: the model fails, or gives scores that are not finite, or below 0.
        """
        check_images(images)
        scores = Scores(*(np.empty(len(images), np.float32) for _ in Scores._fields))

        def score(rows: slice) -> None:
            for whole, some in zip(scores, self.run(images[rows]), strict=True):
                whole[rows] = some

        self._each_batch(len(images), score)
        for name, values in scores._asdict().items():
            if not (np.isfinite(values).all() and (values >= 0).all()):
                raise ModelError(f"{self.path} gives {name} that is not finite, or below 0; train and export it again")
        return scores


class Decoder(_Half):
    """Latents to images."""

    _interface, _batch_size = DECODER, 128

    def __call__(self, z: Floats) -> Floats:
        """Decode float32 `[n, latent_dim]` to images, float32 `[n, 28, 28]` in [0, 1].

        Raises:
            FormatError: the latents have another type or shape.
            ModelError: the model fails, or gives pixels outside [0, 1].
        """
        images = np.empty((len(z), *IMAGE_SHAPE), np.float32)

        def decode(rows: slice) -> None:
            images[rows] = self._decode(z[rows])

        self._check_latents(z)
        self._each_batch(len(z), decode)
        return images

    def pixels(self, z: Floats) -> Pixels:
        """Decode float32 `[n, latent_dim]` to grey levels, uint8 `[n, 28, 28]`; errors are those of a call."""
        images = np.empty((len(z), *IMAGE_SHAPE), np.uint8)

        def decode(rows: slice) -> None:
            to_bytes(self._decode(z[rows]), out=images[rows])

        self._check_latents(z)
        self._each_batch(len(z), decode)
        return images

    def _check_latents(self, z: Floats) -> None:
        if z.dtype != np.float32 or z.ndim != 2 or z.shape[1] != self.latent_dim:
            raise FormatError(f"latents are {z.dtype}{list(z.shape)}, expected float32[n, {self.latent_dim}]")

    def _decode(self, z: Floats) -> Floats:
        (image,) = self.run(z)
        check_ink(image, self.path)
        return image


def check_images(images: Pixels) -> None:
    """Raise `FormatError` if images are not uint8 `[n, 28, 28]`."""
    if images.dtype != np.uint8 or images.ndim != 3 or images.shape[1:] != IMAGE_SHAPE:
        raise FormatError(f"images are {images.dtype}{list(images.shape)}, expected uint8[n, 28, 28]")


def check_ink(image: Floats, path: Path) -> None:
    """Refuse pixels outside [0, 1], as far as that shows in a byte; `path` is the model that made them.

    Raises:
        ModelError: there are some, or some that are no numbers.
    """
    if image.size and not image.view(np.uint32).max() < _HIGHEST:
        low, high = image.min(initial=0), image.max(initial=1)
        # Written so that NaN fails; what rounds to a byte is good enough.
        if not (low > -_HALF_A_LEVEL and high < 1 + _HALF_A_LEVEL):
            raise ModelError(f"{path} gives pixels from {low:.3g} to {high:.3g}, expected 0 to 1")


def to_bytes(images: Floats, out: Pixels | None = None) -> Pixels:
    """Grey levels in [0, 1], float32, to the nearest of 0 to 255; `images` is overwritten if `out` is given."""
    levels = np.multiply(images, np.float32(255), out=images if out is not None else None)
    np.rint(levels, out=levels)
    if out is None:
        return levels.astype(np.uint8)
    np.copyto(out, levels, casting="unsafe")
    return out


def check_pair(first: OnnxModel, second: OnnxModel) -> None:
    """Refuse two files, such as an encoder and a decoder, that do not belong to one model, as far as they tell.

    Raises:
        ModelError: their latent sizes differ, or what both files say of the data, the parameters or the figures of
            the model that they were exported from.
    """
    roles = first.interface.role, second.interface.role
    again = f"give {roles[0]} and {roles[1]} of one export, or export again"
    if first.latent_dim != second.latent_dim and 0 not in (first.latent_dim, second.latent_dim):  # as of a scorer
        raise ModelError(
            f"{first.path} has {first.latent_dim} latent(s), {second.path} has {second.latent_dim}; {again}"
        )
    same = first.facts.get("variant") == second.facts.get("variant")
    for fact in _OF_THE_MODEL if same else _OF_THE_MODEL[:2]:
        one, other = first.facts.get(fact), second.facts.get(fact)
        if one is not None and other is not None and one != other:
            raise ModelError(
                f"{first.path} and {second.path} are of two models: their {fact} is {one[:12]} and {other[:12]}; "
                + again
            )
