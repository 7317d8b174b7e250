"""What the exporter says of its models, as manifests: one for each half, and one for the whole bundle."""

from __future__ import annotations

from dataclasses import replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from pipeline.inference.manifest import Entry, ListedFile, Manifest, Variant, write_manifest
from pipeline.shared.files import sha256
from pipeline.shared.interface import FLOAT32, MANIFEST_FILE, MODEL_FILE, TEST_DATA, Interface

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pipeline.exporting.check import Proof


def describe_model(
    interface: Interface, proof: Proof, priced: Mapping[str, Variant], facts: Mapping[str, Any] | None = None
) -> Entry:
    """Proof and variants of a model, with paths within its folder; `facts` are what else is said of it.

    Args:
        interface: of its role.
        proof: of the float32 file.
        priced: the other variants, and maybe float32 itself, by name.
        facts: of a scorer, a mixture.
    """
    exact = replace(priced.get(FLOAT32, Variant(MODEL_FILE)), largest_difference=proof.largest_difference)
    variants = {FLOAT32: exact} | {name: one for name, one in priced.items() if name != FLOAT32}
    return Entry(interface, (TEST_DATA,), variants, facts or {})


def write_manifests(bundle: Path, about: Manifest, entries: Mapping[str, Entry]) -> dict[str, Any]:
    """Write the manifest of each folder with what lies in it, then that of the whole; returns the last.

    Args:
        bundle: holds the folders of all roles.
        about: what is said of all of them; its models and files are filled in here.
        entries: per role what `describe_model` gives.
    """
    for folder in dict.fromkeys(PurePosixPath(entry.interface.folder).parts[:1] for entry in entries.values()):
        if folder:  # and not the bundle itself
            _write(bundle, folder[0], about, entries)
    return _write(bundle, "", about, entries)


def _write(bundle: Path, folder: str, about: Manifest, entries: Mapping[str, Entry]) -> dict[str, Any]:
    """Write the manifest of a folder of the bundle, of all models that lie in it."""
    models = {
        role: entry.moved(_below(PurePosixPath(entry.interface.folder), folder))
        for role, entry in entries.items()
        if PurePosixPath(entry.interface.folder).is_relative_to(folder)
    }
    top = bundle / folder
    files = sorted(file for file in top.rglob("*") if file.is_file() and file != top / MANIFEST_FILE)
    listed = tuple(ListedFile(file.relative_to(top).as_posix(), file.stat().st_size, sha256(file)) for file in files)
    return write_manifest(top, replace(about, models=models, files=listed))


def _below(place: PurePosixPath, folder: str) -> str:
    """What leads from a folder to a place in it, to be put before names there."""
    way = place.relative_to(folder).as_posix()
    return "" if way == "." else f"{way}/"
