"""Stage `train`: fit the variational autoencoder and save its two halves."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from pipeline.data.binarise import binarise
from pipeline.data.prepared import read_split, read_stats
from pipeline.shared.files import atomic_folder, refuse_foreign, write_json
from pipeline.training.checkpoint import Checkpoint, History
from pipeline.training.device import prepare_device, repeat_exactly, share_heap
from pipeline.training.epoch_log import EpochLog
from pipeline.training.fingerprint import sources, versions
from pipeline.training.lookup import ImageLookup
from pipeline.training.loop import Blocks, BlockVAE
from pipeline.training.model import VAE, build_decoder, build_encoder
from pipeline.training.watch import Watch
from pipeline.training.weights import ORIGIN_FILE, save_half

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from pipeline.params import Model, Train

log = logging.getLogger(__name__)

_OWN = ("*.json", "*.weights.h5")
_VALIDATION_BATCH = 500


def train(
    model: Model, params: Train, prepared: Path, folder: Path, report: Path, verbose: int | str = "auto"
) -> dict[str, float]:
    """Fit the model on the training images and write encoder and decoder to `folder`.

    The weights are those of the epoch with the lowest validation loss. A run that was killed
    resumes after its last whole epoch and ends with the same weights.

    Args:
        model: the sizes of the network.
        params: how it is fitted.
        prepared: the output of `prepare`.
        folder: where the weights go.
        report: where DVCLive logs each epoch as it ends; an earlier log is replaced when training starts.
        verbose: progress of `fit`, as Keras counts it (0 silent, 1 bar, 2 one line per epoch).

    Returns:
        The figures of the chosen epoch, in nats per image: `loss`, `reconstruction`, `kl`, each also as `val_...`,
        and its number, `epoch`, counted from 1.

    Raises:
        TrainingError: the loss is not finite, the posterior collapsed, or the git repository has no commit yet.
        OutputError: `folder` or `report` holds something else.
    """
    images, validation = _read_images(prepared, params)
    stats = read_stats(prepared)
    share_heap()
    device = prepare_device()
    refuse_foreign(folder, owns=_OWN)
    repeat_exactly(params.seed, jit_compile=params.jit_compile)
    lookup = ImageLookup(np.concatenate([images, validation]), shuffled=len(images), seed=params.seed)
    blocks = block_up(len(images), model, params, device)
    vae = build_vae(model, params, lookup, blocks)
    origin: dict[str, Any] = {
        "model": model.model_dump(mode="json"),
        "train": params.model_dump(mode="json"),
        "data": {name: stats[name] for name in ("source", "files")},
    }
    decides = {**origin, "stats": stats, "device": device, "code": sources(), "versions": versions()}
    checkpoint = Checkpoint(folder, decides)
    state = [*vae.trained_variables(), *vae.optimizer.variables]
    weights = [*vae.encoder.variables, *vae.decoder.variables]
    history = checkpoint.restore(state)
    epoch_log = EpochLog(report, history.epochs)
    done = len(history.epochs)
    resumed = f", resumed after epoch {done}" if done else ""
    log.info("training on %s: %s images, %s epochs%s", device, f"{len(images):,}", params.epochs, resumed)
    vae.fit(
        blocks,
        epochs=params.epochs,
        initial_epoch=params.epochs if _is_over(history, params) else done,
        shuffle=False,  # `lookup` does it
        validation_data=(np.arange(len(images), len(images) + len(validation), dtype=np.int32),),
        validation_batch_size=_VALIDATION_BATCH,
        callbacks=[Watch(params, blocks, lookup, history, checkpoint, epoch_log, state, weights)],
        verbose=verbose,
    )
    chosen = {"epoch": history.best_epoch, **history.epochs[history.best_epoch - 1]}
    epoch_log.finish(chosen)
    with atomic_folder(folder, owns=_OWN) as beside:
        for half in _halves(model, history.best):
            save_half(half, beside)
        write_json(beside / ORIGIN_FILE, {**origin, "epoch": chosen["epoch"]})
    checkpoint.remove()
    return chosen


def block_up(count: int, model: Model, params: Train, device: str) -> Blocks:
    """The batches of an epoch: in blocks where a compiled loop over their steps pays, else one by one."""
    # In a loop on a CPU, XLA computes convolutions three to ten times slower than outside.
    loops_pay = not (device.startswith("CPU") and (model.encoder_filters or model.decoder_filters))
    return Blocks(count, params.batch_size, params.steps_per_execution if loops_pay else 1)


def build_vae(model: Model, params: Train, lookup: keras.layers.Layer | None, blocks: Blocks) -> VAE:
    """The network, compiled as the parameters say, for `blocks` of numbers of `lookup`, or without these for images."""
    policy = "float32" if params.precision == "float32" else f"mixed_{params.precision}"
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        halves = _build_halves(model)
        options: dict[str, Any] = {
            "seed": params.seed,
            "kl_weight": params.kl_weight,
            "kl_warmup_steps": params.kl_warmup_epochs * blocks.steps,
            "samples": params.importance_samples,
            "binarise": params.binarisation == "dynamic",
        }
        if lookup is None:
            vae = VAE(*halves, **options)
        else:
            vae = BlockVAE(*halves, **options, lookup=lookup, looped=blocks.steps_of_block > 1)
    finally:
        keras.config.set_dtype_policy(before)
    rate: Any = params.learning_rate
    if params.schedule == "cosine":
        rate = keras.optimizers.schedules.CosineDecay(rate, params.epochs * blocks.steps)
    vae.compile(
        optimizer=keras.optimizers.Adam(
            rate, weight_decay=params.weight_decay or None, global_clipnorm=params.clip_norm or None
        ),
        jit_compile=params.jit_compile,
        steps_per_execution=1 if blocks.steps_of_block > 1 else params.steps_per_execution,
    )
    vae.optimizer.build(vae.trainable_variables)
    return vae


def _build_halves(model: Model) -> tuple[keras.Model, keras.Model]:
    return (
        build_encoder(model.latent_dim, model.encoder_units, model.encoder_filters, model.activation),
        build_decoder(
            model.latent_dim, model.decoder_units, model.decoder_filters, model.activation, model.decoder_surface
        ),
    )


def _halves(model: Model, weights: list[NDArray[Any]]) -> tuple[keras.Model, keras.Model]:
    """Both halves with these weights, in float32 whatever the precision of training."""
    encoder, decoder = _build_halves(model)
    for variable, value in zip([*encoder.variables, *decoder.variables], weights, strict=True):
        variable.assign(value)
    return encoder, decoder


def _read_images(prepared: Path, params: Train) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Training and validation images; binarised once where they are not grey (training: unless afresh each time)."""
    images, validation = (np.asarray(read_split(prepared, split)[0]) for split in ("train", "validation"))
    if params.binarisation != "none":
        validation = binarise(validation, params.seed)
    if params.binarisation == "static":
        images = binarise(images, params.seed + 1)
    return images, validation


def _is_over(history: History, params: Train) -> bool:
    """Whether an earlier run finished all epochs, but was killed before its weights were in place."""
    done = len(history.epochs)
    return bool(params.patience and done and done - history.best_epoch >= params.patience)
