"""Stage `export`: the trained halves as a bundle; written only when every proof holds."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.exporting.bundle import read_trained, write_bundle
from pipeline.inference.bundle import replace_bundle
from pipeline.shared.files import explained
from pipeline.shared.interface import ROLES
from pipeline.training.device import prepare_device

if TYPE_CHECKING:
    from pipeline.params import Export


def export(params: Export, models: Path, prepared: Path, exports: Path) -> dict[str, Any]:
    """Write the bundle of the models in the folder `models` to `exports`, in place of an earlier one.

    Returns:
        The manifest of the whole.

    Raises:
        ExportError: a conversion, a proof or a budget failed; every failure is listed and no file is written.
        ModelError: the weights are missing or damaged.
        OutputError: `exports` cannot be written, or a folder to be replaced holds something else.
    """
    prepare_device(exact=True)
    trained = read_trained(models)
    with explained(exports):
        exports.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=".export.", dir=exports))
    try:
        manifest = write_bundle(params, trained, prepared, scratch, ROLES)
        replace_bundle(scratch, exports)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return manifest
