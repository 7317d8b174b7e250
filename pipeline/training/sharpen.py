"""Stage `sharpen`, its training: a second decoder that a discriminator taught to draw as sharp as real images are."""

from __future__ import annotations

import hashlib
import logging
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from pipeline.shared.files import atomic_folder, refuse_foreign, write_json
from pipeline.training.balance import Balance
from pipeline.training.checkpoint import Checkpoint
from pipeline.training.device import leave_layers_apart, prepare_device, repeat_exactly, share_heap
from pipeline.training.epoch_log import EpochLog
from pipeline.training.fingerprint import sources, versions
from pipeline.training.model import reconstruction_loss
from pipeline.training.rates import RatedAdam, Trapezoid
from pipeline.training.vaegan import FIGURES, VAEGAN
from pipeline.training.weights import ORIGIN_FILE, latent_dim_of, save_half

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from pipeline.params import Sharpen

    Floats = NDArray[np.float32]
    Pixels = NDArray[np.uint8]
    Decode = Callable[[Floats], Pixels]
    Score = Callable[[Decode], Mapping[str, float]]

log = logging.getLogger(__name__)

OWN = ("*.json", "*.weights.h5")
SHARP = (0.9, 1.05)  # edge ratios that are as good as each other
_DULL = 10.0  # what an edge ratio further away costs, in units of Frechet distance
_ROWS = 250  # decoded or encoded at a time
_MEASURED = 1000  # training images whose cross-entropy at the start is what it is compared with later


def fit_generator(
    params: Sharpen,
    halves: tuple[keras.Model, keras.Model],
    images: Pixels,
    latents: Floats | None,
    score: Score,
    folder: Path,
    report: Path,
    inputs: Mapping[str, Any],
    verbose: int | str = "auto",
) -> dict[str, float]:
    """Train a VAE-GAN and write its decoder, and its encoder if that was trained too, to `folder`.

    The weights are those of the epoch with the best `score`: the lowest Frechet distance, with 10 more for each 1 that
    the edge ratio is outside 0.9 to 1.05; the decoder's are moving averages. A run that was killed resumes after its
    last whole epoch and ends with the same weights.

    Args:
        params: how it is fitted.
        halves: the trained encoder and decoder, which stay as they are; of these the run takes the weights too,
            unless it starts from nothing.
        images: for training, uint8 `[n, 28, 28]`.
        latents: from where images are drawn, float32 `[m, latent_dim]`, half a batch a step and again from the first
            after the last; None: N(0, I).
        score: from a function that decodes float32 `[k, latent_dim]` to uint8 `[k, 28, 28]`, the figures of a
            comparison with validation images: `edge_ratio`, and `frechet_distance` if there is a judge.
        folder: where the weights go.
        report: where DVCLive logs each epoch as it ends; an earlier log is replaced when training starts.
        inputs: what `images`, `latents` and `score` come from, as JSON can say it; written beside the weights.
        verbose: progress of `fit`, as Keras counts it (0 silent, 1 bar, 2 one line per epoch).

    Returns:
        The figures of the chosen epoch: those of training by the names of `FIGURES`, those of `score` as `val_...`,
        what it was chosen by as `val_loss`, and its number, `epoch`, counted from 1.

    Raises:
        TrainingError: a loss is not finite, one network left the other behind, or the git repository has no commit.
        OutputError: `folder` or `report` holds something else.
    """
    share_heap()
    device = prepare_device()
    refuse_foreign(folder, owns=OWN)
    batches = Batches(params, images, latents, latent_dim_of(halves[1]))
    vaegan = build_vaegan(params, halves, params.epochs * batches.steps)
    generator = keras.models.clone_model(vaegan.decoder)
    origin = {"sharpen": params.model_dump(mode="json"), "inputs": dict(inputs)}
    arrays = [*halves[0].get_weights(), *halves[1].get_weights(), images, *([] if latents is None else [latents])]
    decides = {
        **origin,
        "arrays": [hashlib.sha256(np.ascontiguousarray(array).data).hexdigest() for array in arrays],
        "halves": [half.to_json() for half in halves],
        "device": device,
        "code": sources(__name__),
        "versions": versions(),
    }
    checkpoint = Checkpoint(folder, decides)
    balance = Balance(params, measure_cross_entropy(vaegan, images[:_MEASURED]))
    state = [*vaegan.variables, *vaegan.optimizer.variables]
    history = checkpoint.restore(state)
    epoch_log = EpochLog(report, history.epochs)
    done = len(history.epochs)
    resumed = f", resumed after epoch {done}" if done else ""
    log.info("sharpening on %s: %s images, %s epochs%s", device, f"{len(images):,}", params.epochs, resumed)
    for epoch in range(done, params.epochs):
        batches.begin(epoch)
        fitted = vaegan.fit(
            batches,
            epochs=epoch + 1,
            initial_epoch=epoch,
            shuffle=False,  # `batches` does it
            callbacks=[balance],
            verbose=verbose,
        )
        weights = vaegan.generator_weights()
        generator.set_weights(weights)
        found = score(lambda z: decode(generator, z))
        history.epochs.append(
            {
                **{name: float(fitted.history[name][-1]) for name in FIGURES},
                **{f"val_{name}": float(value) for name, value in found.items()},
                "val_loss": badness(found),
            }
        )
        epoch_log.add(history.epochs[-1])
        if history.best_epoch == epoch + 1:
            history.best = [*vaegan.encoder.get_weights(), *weights]
        checkpoint.save(state, history)
        log.info("epoch %d of %d: %s", epoch + 1, params.epochs, shown(history.epochs[-1]))
    chosen = {"epoch": history.best_epoch, **history.epochs[history.best_epoch - 1]}
    epoch_log.finish(chosen)
    encoder = keras.models.clone_model(halves[0])
    count = len(encoder.get_weights())
    encoder.set_weights(history.best[:count])
    generator.set_weights(history.best[count:])
    with atomic_folder(folder, owns=OWN) as beside:
        for half in [generator, *([encoder] if params.encoder == "trained" else [])]:
            save_half(half, beside)
        write_json(beside / ORIGIN_FILE, {**origin, "epoch": chosen["epoch"]})
    checkpoint.remove()
    return chosen


def build_vaegan(params: Sharpen, halves: tuple[keras.Model, keras.Model], steps: int) -> VAEGAN:
    """The model of a run of so many steps, compiled, with weights of its own."""
    compiled = keras.backend.backend() != "tensorflow"  # whose convolutions are faster without XLA on a CPU
    repeat_exactly(params.seed, jit_compile=compiled)
    if not compiled:
        leave_layers_apart()
    own = [keras.models.clone_model(half) for half in halves]
    if params.start == "trained":
        for copy, half in zip(own, halves, strict=True):
            copy.set_weights(half.get_weights())
    vaegan = VAEGAN(own[0], own[1], params)
    discriminating = {id(variable) for variable in vaegan.discriminator.trainable_variables}
    rates = [
        params.discriminator_rate if id(variable) in discriminating else params.decoder_rate
        for variable in vaegan.trainable_variables
    ]
    optimizer = RatedAdam(rates, learning_rate=Trapezoid(params.warmup_steps, steps), beta_1=0.5, beta_2=0.99)
    optimizer.build(vaegan.trainable_variables)
    vaegan.compile(optimizer=optimizer, jit_compile=compiled)
    return vaegan


class Batches(keras.utils.PyDataset):  # type: ignore[misc]
    """An epoch of images and latents: uint8 `[batch, 28, 28]`, float32 `[batch / 2, latent_dim]`.

    Order and draws depend on the seed and the epoch alone. The remainder of an epoch is dropped.

    Args:
        params: of the run.
        images: uint8 `[n, 28, 28]`.
        latents: float32 `[m, latent_dim]`, or None for N(0, I).
        latent_dim: how many.
    """

    def __init__(self, params: Sharpen, images: Pixels, latents: Floats | None, latent_dim: int) -> None:
        # As in `Blocks`: keeps Keras from turning on a thread of TensorFlow for which an epoch's end waits.
        super().__init__(workers=2 if keras.backend.backend() == "tensorflow" else 1)
        self._seed, self._images, self._latents, self._latent_dim = params.seed, images, latents, latent_dim
        self._size = min(params.batch_size, len(images))
        self.steps = len(images) // self._size
        self.begin(0)

    def begin(self, epoch: int) -> None:
        """Shuffle for an epoch, counted from 0."""
        self._epoch = epoch
        self._order = np.random.default_rng([self._seed, epoch]).permutation(len(self._images))

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> tuple[tuple[Pixels, Floats]]:
        chosen = self._order[step * self._size : (step + 1) * self._size]
        count = self._size // 2
        if self._latents is None:
            generator = np.random.default_rng([self._seed, self._epoch, step])
            z = generator.standard_normal((count, self._latent_dim), np.float32)
        else:
            first = (self._epoch * self.steps + step) * count
            z = self._latents[np.arange(first, first + count) % len(self._latents)]
        return ((self._images[chosen], z),)


def decode(generator: keras.Model, z: Floats) -> Pixels:
    """Latents float32 `[n, latent_dim]` to grey levels, uint8 `[n, 28, 28]`, as `vae generate` rounds them."""
    parts = [generator.predict_on_batch(z[start : start + _ROWS])["image"] for start in range(0, len(z), _ROWS)]
    pixels: Pixels = np.rint(255 * np.concatenate(parts)).astype(np.uint8)
    return pixels


def measure_cross_entropy(vaegan: VAEGAN, images: Pixels) -> float:
    """Of reconstructions from `z_mean`, nats per image."""
    total = 0.0
    for start in range(0, len(images), _ROWS):
        some = images[start : start + _ROWS]
        logits = vaegan.drawing.predict_on_batch(vaegan.encoder.predict_on_batch(some)["z_mean"])["logits"]
        total += float(np.sum(reconstruction_loss(some.astype(np.float32) / 255, logits)))
    return total / len(images)


def badness(figures: Mapping[str, float]) -> float:
    """What an epoch is chosen by, the lower the better: its Frechet distance, and more if it is too dull or harsh."""
    edges = figures["edge_ratio"]
    outside = max(0.0, SHARP[0] - edges, edges - SHARP[1])
    return figures.get("frechet_distance", 0.0) + _DULL * outside


def shown(figures: Mapping[str, float]) -> str:
    """Figures as one line."""
    return ", ".join(f"{name} {value:.4g}" for name, value in figures.items())
