"""Stage `explore`: build a static page from a bundle and the latents of the test images."""

import gzip
import html
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.data.prepared import About, read_about, read_split
from pipeline.errors import BundleError, DataError
from pipeline.exploring.node import SITE, bundle_scripts, node_modules
from pipeline.exploring.serve import POLICY
from pipeline.inference.bundle import open_bundle
from pipeline.inference.manifest import Manifest
from pipeline.inference.renderer import open_renderer
from pipeline.inference.session import Decoder, Scorer
from pipeline.inference.usual import ALL
from pipeline.jobs.encoded import EncodedRows, read_encoded
from pipeline.jobs.grid import tile
from pipeline.measures.elbo import kl_per_latent
from pipeline.shared.files import atomic_folder, sha256
from pipeline.shared.interface import DECODER, ENCODER, FLOAT32, RENDERER, SCORER

SITE_FILE, SITE_SCHEMA = "site.json", 3
RUNTIME = "ort-wasm-simd-threaded.wasm"
NO_LABEL = 255
COLUMNS = 100  # images in a row of the sheet
LEVELS = 32  # of grey: a third smaller than with 256, and moves an image's latents by less than a dot's width
OWN = (
    *("*.html", "*.css", "*.svg", "*.js", "*.wasm", "*.wasm.gz", "*.txt", SITE_FILE, "data", "encoder", "decoder"),
    "renderer",
)
PACKAGES = (  # whose licence notices are not in their code
    *(f"d3-{part}" for part in ("array", "color", "dispatch", "drag", "ease", "interpolate", "selection", "timer")),
    "d3-transition",
    "d3-zoom",
    "@noble/hashes",
)

Floats = NDArray[np.float32]


def build(exports: Path, latents: Path, prepared: Path, output: Path) -> dict[str, Any]:
    """Write the page to the folder `output`.

    Args:
        exports: the bundle of both models.
        latents: the latents of the test images, as Parquet written by `vae encode`.
        prepared: the folder of the prepared arrays, which has the test images themselves, and what they show.
        output: the folder to write; it appears complete or not at all.

    Raises:
        ToolError: Node is missing, or the npm packages cannot be installed.
        BundleError: a model or a file of the bundle is missing, or damaged.
        ModelError: the renderer is of another model than the decoder.
        DataError: the latents or the images are missing, or were not encoded by these models.
    """
    about, shown = open_bundle(exports), read_about(prepared)
    missing = {role.role for role in (ENCODER, DECODER, RENDERER)} - set(about.models)
    if missing:
        raise BundleError(
            f"{exports} holds no {' and no '.join(sorted(missing))}, which the page needs; run `vae export` again"
        )
    open_renderer(Decoder(exports / DECODER.folder))  # refuses one of another model
    rows = _read_latents(latents, exports, about)
    images, _ = read_split(prepared, "test")
    if rows.index.max() >= len(images):
        raise DataError(
            f"{latents} has row {rows.index.max():,}, {prepared} only {len(images):,} test images; "
            "run `vae encode` again"
        )
    with atomic_folder(output, owns=OWN) as beside:
        _write_code(beside, shown)
        (beside / "data").mkdir()
        step = _write_latents(beside / "data/latents.bin", rows)
        _write_sheet(beside / "data/images.webp", images[rows.index])
        files = {"latents": "data/latents.bin", "images": "data/images.webp", **_copy_models(exports, about, beside)}
        content = {
            "schema": SITE_SCHEMA,
            "latent_dim": about.latent_dim,
            "title": shown.title,
            "noun": shown.noun,
            "classes": shown.classes,
            "images": len(rows.index),
            "columns": COLUMNS,
            "step": step,
            "nats": (about.validation or {}).get("negative_elbo"),
            "usual": _usual(exports, about),
            "kl": _rounded(kl_per_latent(rows.z_mean, rows.z_log_var).mean(axis=0)),
            "plane": _principal_plane(rows.z_mean) if about.latent_dim > 2 else None,
            "files": {name: _describe(beside, path) for name, path in files.items()},
        }
        (beside / SITE_FILE).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        sizes = [file.stat().st_size for file in beside.rglob("*") if file.is_file()]
    return {"folder": str(output), "files": len(sizes), "bytes": sum(sizes), "images": len(rows.index)}


def _read_latents(path: Path, exports: Path, about: Manifest) -> EncodedRows:
    rows = read_encoded(path, about.latent_dim, NO_LABEL)
    encoders = {variant.file for variant in about.models["encoder"].variants.values()}
    if rows.model_sha256 not in {file.sha256 for file in about.files if file.path in encoders}:
        raise DataError(f"{path} was encoded by another model than {exports} holds; run `vae encode` again")
    return rows


def _usual(exports: Path, about: Manifest) -> dict[str, Any] | None:
    """What score is usual among held-out images; None if the bundle has no scorer, or that doesn't say."""
    scorer = about.models.get(SCORER.role)
    usual = None if scorer is None else Scorer(exports / scorer.variants[FLOAT32].file).usual
    return None if usual is None else {"images": usual.images, "quantiles": _rounded(usual.quantiles[ALL])}


def _write_code(folder: Path, shown: About) -> None:
    bundle_scripts({"app": "main.ts", "worker": "worker.ts"}, folder)
    for name in ("style.css", "icon.svg"):
        shutil.copyfile(SITE / name, folder / name)
    page = (SITE / "index.html").read_text(encoding="utf-8")
    noun = shown.noun
    words = {"title": shown.title, "noun": noun, "Noun": noun.capitalize(), "a_noun": shown.a_noun, "policy": POLICY}
    for name, word in words.items():
        page = page.replace(f"{{{{{name}}}}}", word if word is POLICY else html.escape(word))
    (folder / "index.html").write_text(page, encoding="utf-8")
    modules = node_modules()
    runtime = (modules / "onnxruntime-web/dist" / RUNTIME).read_bytes()
    (folder / f"{RUNTIME}.gz").write_bytes(gzip.compress(runtime, mtime=0))  # a quarter, on every server
    notices = (f"{name}\n\n{(modules / name / 'LICENSE').read_text(encoding='utf-8')}" for name in PACKAGES)
    (folder / "licences.txt").write_text("\n\n".join(notices), encoding="utf-8")


def _write_latents(path: Path, rows: EncodedRows) -> list[float]:
    """Write z_mean as int16 `[n, latent_dim]`, then labels as uint8 `[n]`; return the value of a step of each latent.

    Rounding by half a step, about 0.0001, is less than a pixel at every zoom and halves the size.
    """
    largest = np.abs(rows.z_mean).max(axis=0)
    step = np.where(largest > 0, largest / 32767, 1).astype(np.float64)
    path.write_bytes(np.rint(rows.z_mean / step).astype("<i2").tobytes() + rows.label.astype(np.uint8).tobytes())
    return [float(value) for value in step]


def _write_sheet(path: Path, images: NDArray[np.uint8]) -> None:
    """Write all images as one sheet, row by row: one small file instead of 10,000."""
    from PIL import Image  # noqa: PLC0415

    grey = np.rint(np.rint(images / 255 * (LEVELS - 1)) * (255 / (LEVELS - 1))).astype(np.uint8)
    Image.fromarray(tile(grey, COLUMNS)).save(path, "WEBP", lossless=True, quality=100, method=4)


def _copy_models(exports: Path, about: Manifest, folder: Path) -> dict[str, str]:
    """Copy the models that the page runs; the encoder as fp16, which is half the size and accurate enough.

    With 28 by 28 pixels the renderer is the float32 decoder.
    """
    renderer, decoder, encoder = (about.models[role.role].variants for role in (RENDERER, DECODER, ENCODER))
    chosen = {"renderer": renderer[FLOAT32].file, "encoder": encoder.get("fp16", encoder[FLOAT32]).file}
    if "int8" in decoder:
        chosen["decoder_int8"] = decoder["int8"].file
    for file in chosen.values():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(exports / file, folder / file)
    return chosen


def _principal_plane(z_mean: Floats) -> dict[str, Any]:
    """The plane through the mean along which the latents vary most, and its share of the variance."""
    mean = z_mean.mean(axis=0, dtype=np.float64)
    variances, axes = np.linalg.eigh(np.cov(z_mean.astype(np.float64), rowvar=False))
    two = axes[:, ::-1][:, :2].T
    two = two * np.sign(two[np.arange(2), np.abs(two).argmax(axis=1)])[:, None]  # the sign of an axis is arbitrary
    share = float(variances[::-1][:2].sum() / variances.sum())
    return {"mean": _rounded(mean), "axes": [_rounded(axis) for axis in two], "share": round(share, 4)}


def _describe(folder: Path, path: str) -> dict[str, Any]:
    return {"path": path, "bytes": (folder / path).stat().st_size, "sha256": sha256(folder / path)}


def _rounded(values: NDArray[Any]) -> list[float]:
    return [round(float(value), 6) for value in values]
