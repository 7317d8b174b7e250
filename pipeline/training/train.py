"""Stage `train`: fit the variational autoencoder and save its two halves."""

from __future__ import annotations

import contextlib
import logging
import math
from typing import TYPE_CHECKING

import keras
import numpy as np
from dvclive.keras import DVCLiveCallback
from dvclive.live import Live
from scmrepo.exceptions import SCMError

from pipeline.data.prepared import read_split, read_stats
from pipeline.errors import TrainingError
from pipeline.files import atomic_folder, refuse_foreign, write_json
from pipeline.training.device import prepare_device, repeat_exactly
from pipeline.training.model import VAE, build_decoder, build_encoder
from pipeline.training.weights import ORIGIN_FILE, save_half

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pipeline.params import Model, Train

log = logging.getLogger(__name__)

_OWN = ("*.json", "*.weights.h5")


def train(
    model: Model, params: Train, prepared: Path, folder: Path, report: Path, verbose: int | str = "auto"
) -> dict[str, float]:
    """Fit the model on the training digits and write encoder and decoder to `folder`.

    Args:
        model: the sizes of the network.
        params: how it is fitted.
        prepared: the output of `prepare`.
        folder: where the weights go.
        report: where DVCLive logs each epoch.
        verbose: progress of `fit`, as Keras counts it (0 silent, 1 bar, 2 one line per epoch).

    Returns:
        The figures of the last epoch, in nats per image: `loss`, `reconstruction`, `kl`, each also as `val_...`.

    Raises:
        TrainingError: the loss is not finite, or the git repository has no commit yet.
        OutputError: `folder` or `report` holds something else.
    """
    images, _ = read_split(prepared, "train")
    validation, _ = read_split(prepared, "validation")
    stats = read_stats(prepared)
    device = prepare_device()
    log.info("training on %s: %s images, %s epochs", device, f"{len(images):,}", params.epochs)
    repeat_exactly(params.seed, jit_compile=params.jit_compile)
    vae = VAE(
        build_encoder(model.latent_dim, model.encoder_units),
        build_decoder(model.latent_dim, model.decoder_units),
        seed=params.seed,
    )
    vae.compile(
        optimizer=keras.optimizers.Adam(params.learning_rate),
        jit_compile=params.jit_compile,
        steps_per_execution=params.steps_per_execution,
    )
    refuse_foreign(folder, owns=_OWN)
    with _logged(report) as live:
        history = vae.fit(
            np.asarray(images),
            batch_size=params.batch_size,
            epochs=params.epochs,
            validation_data=(np.asarray(validation),),
            callbacks=[keras.callbacks.TerminateOnNaN(), DVCLiveCallback(live=live)],
            verbose=verbose,
        ).history
        if not all(math.isfinite(loss) for loss in history["loss"] + history["val_loss"]):
            raise TrainingError(
                f"the loss is not finite after epoch {len(history['loss'])}; lower train.learning_rate "
                f"(now {params.learning_rate:g})"
            )
    origin = {
        "model": model.model_dump(mode="json"),
        "train": params.model_dump(mode="json"),
        "data": {name: stats[name] for name in ("source", "files")},
    }
    with atomic_folder(folder, owns=_OWN) as beside:
        for half in (vae.encoder, vae.decoder):
            save_half(half, beside)
        write_json(beside / ORIGIN_FILE, origin)
    return {name: values[-1] for name, values in history.items()}


@contextlib.contextmanager
def _logged(report: Path) -> Iterator[Live]:
    """DVCLive, whose folder appears when all epochs are in it."""
    with atomic_folder(report, owns=["metrics.json", "plots"]) as unfinished:
        try:
            live = Live(str(unfinished), dvcyaml=None, save_dvc_exp=False, report=None)
        except SCMError as error:
            raise TrainingError(f"DVCLive can't use this git repository ({error}); make a first commit") from error
        with live:
            yield live
