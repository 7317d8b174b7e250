"""Bundles: a folder of models with a manifest that says what each file is, byte for byte."""

import shutil
from pathlib import Path

from pipeline.errors import BundleError
from pipeline.inference.manifest import Manifest, read_manifest
from pipeline.shared.files import atomic_folder, explained, flush, refuse_foreign, sha256
from pipeline.shared.interface import FOLDERS, MANIFEST_FILE, ROLES, TEST_DATA


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


def replace_bundle(made: Path, folder: Path) -> None:
    """Put a finished bundle in place of the one in `folder`.

    The manifest of the whole is removed first and put in place last: when the process is killed in between, the bundle
    has none, and `open_bundle` refuses it.

    Args:
        made: the finished bundle, on the same disk as `folder`; its top manifest is moved, the rest is copied.
        folder: an existing folder; what it holds beside the folders of models stays.

    Raises:
        OutputError: a folder of models holds something that no export wrote, and nothing was replaced; or `folder`
            cannot be written.
    """
    parts = [part for part in FOLDERS if (made / part).is_dir()]
    for part in parts:
        refuse_foreign(folder / part, owns=_owned(part))
    with explained(folder):
        (folder / MANIFEST_FILE).unlink(missing_ok=True)
        flush(folder)  # a power cut must not bring the manifest back beside models that it does not list
    for part in parts:
        with atomic_folder(folder / part, owns=_owned(part)) as beside:
            shutil.copytree(made / part, beside, dirs_exist_ok=True)
    with explained(folder):
        flush(folder)
        (made / MANIFEST_FILE).replace(folder / MANIFEST_FILE)


def _owned(part: str) -> list[str]:
    """What an export leaves in a folder of models."""
    below = [role.folder.split("/")[1] for role in ROLES.values() if role.folder.startswith(f"{part}/")]
    return ["*.onnx", MANIFEST_FILE, f"{TEST_DATA[:-1]}*", *below]
