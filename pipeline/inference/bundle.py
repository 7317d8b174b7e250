"""Bundles: a folder of models with a manifest that says what each file is, byte for byte."""

from pathlib import Path

from pipeline.errors import BundleError
from pipeline.inference.manifest import Manifest, read_manifest
from pipeline.shared.files import sha256
from pipeline.shared.interface import MANIFEST_FILE


def open_bundle(folder: Path) -> Manifest:
    """Read the manifest of a bundle and hold every file that it lists to its size and SHA-256.

    Files that are not listed do not matter.

    Raises:
        BundleError: no manifest, or one of another schema; a file is missing or has other bytes.
    """
    manifest = read_manifest(folder)
    for listed in manifest.files:
        path = folder / listed.path
        if not path.is_file():
            raise BundleError(f"{path} is missing, {MANIFEST_FILE} lists it; download the bundle again")
        size = path.stat().st_size
        if size != listed.bytes:
            raise BundleError(f"{path} has {size:,} bytes, expected {listed.bytes:,}; download the bundle again")
        found = sha256(path)
        if found != listed.sha256:
            raise BundleError(
                f"{path} has the SHA-256 {found[:12]}..., expected {listed.sha256[:12]}...; download the bundle again"
            )
    return manifest
