"""Manifests are read strictly, and every file that they list is held to its size and SHA-256."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import BundleError
from pipeline.inference.bundle import open_bundle
from pipeline.inference.manifest import DIGEST, Budget, manifest_digest, read_manifest
from pipeline.shared.interface import MANIFEST_FILE, SCHEMA_VERSION
from tests import mixtures


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a manifest as its author would, digest and all."""
    content = json.loads((folder / MANIFEST_FILE).read_text())
    change(content)
    (folder / MANIFEST_FILE).write_text(json.dumps(content | {DIGEST: manifest_digest(content)}))


def complaint(folder: Path) -> str:
    with pytest.raises(BundleError) as refusal:
        open_bundle(folder)
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


@pytest.mark.parametrize(("name", "roles"), [(".", {"encoder", "decoder"}), ("encoder", {"encoder"})])
def test_a_bundle_is_all_of_it_or_one_half(good: Path, name: str, roles: set[str]) -> None:
    bundle = open_bundle(good / name)
    assert bundle.models.keys() == roles
    assert bundle.latent_dim == 2
    assert {path for path in (good / name).rglob("*") if path.is_file()} == {
        *(good / name / file.path for file in bundle.files),
        good / name / MANIFEST_FILE,
        *([good / "README.md"] if name == "." else []),
    }
    encoder = bundle.models["encoder"]
    assert encoder.variants["float32"].budget is None
    assert encoder.variants["fp16"].budget == Budget(None, 0.001)
    assert [name for folder in encoder.vectors for name in folder]
    assert all((good / name / path).is_file() for folder in encoder.vectors for path in folder)


def test_files_that_are_not_listed_and_linked_files_do_not_matter(bundle: Path) -> None:
    (bundle / "notes.txt").touch()
    model = bundle / "encoder" / "model.onnx"
    model.rename(bundle.parent / "elsewhere")  # as DVC links files of its cache
    model.symlink_to(bundle.parent / "elsewhere")
    open_bundle(bundle)


def test_a_file_with_other_bytes_is_named(bundle: Path) -> None:
    file = bundle / "decoder" / "test_data_set_0" / "input_0.pb"
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + b"x")
    assert complaint(bundle).startswith(f"{file} has the SHA-256 ")
    file.write_bytes(whole[:-1])
    assert complaint(bundle).startswith(f"{file} has {len(whole) - 1} bytes, expected {len(whole)}; download the")
    file.unlink()
    assert complaint(bundle).startswith(f"{file} is missing, manifest.json lists it")
    file.mkdir()
    assert complaint(bundle).startswith(f"{file} is missing")


def test_a_bundle_of_a_newer_schema_asks_for_a_newer_release(bundle: Path) -> None:
    edit(bundle, lambda content: (content.clear(), content.update(schema_version=SCHEMA_VERSION + 1)))
    assert complaint(bundle) == (
        f"{bundle}/manifest.json has the schema 2, this release knows 1; install a newer release of the package"
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(schema_version=0), "has the schema 0, expected 1"),
        (lambda c: c.update(schema_version=True), "needs schema_version as int, found bool"),
        (lambda c: c.pop("schema_version"), "needs schema_version as int, found nothing"),
        (lambda c: c.pop("files"), "needs files as list, found nothing"),
        (lambda c: c.update(files=[]), "does not list encoder/test_data_set_0/input_0.pb under files"),
        (lambda c: c["files"].append("a"), "needs files[13] as an object, found str"),
        (lambda c: c["files"][0].pop("sha256"), "needs files[0].sha256 as str, found nothing"),
        (lambda c: c.update(models={}), "lists no model"),
        (lambda c: c.update(models=None), "needs models as an object, found NoneType"),
        (lambda c: c["models"].update(critic={}), "lists the model 'critic', expected encoder or decoder"),
        (lambda c: c.update(latent_dim=3), "says that the encoder has ['image uint8[batch, 28, 28]', 'z_mean float32"),
        (lambda c: c["models"]["encoder"]["variants"].pop("float32"), "lists no float32 variant of the encoder"),
        (lambda c: c["models"]["encoder"]["variants"].update({"a\n": {}}), r"has the name 'a\n' in models.encoder.var"),
        (
            lambda c: c["models"]["decoder"]["variants"]["int8"].pop("budget"),
            "needs models.decoder.variants.int8.budget as an object",
        ),
        (
            lambda c: c["tolerance"].update(absolute=-1),
            "needs tolerance.absolute as a number from 0 on, found -1",
        ),
        (lambda c: c["tolerance"].update(relative=float("nan")), "needs tolerance.relative as a number from 0 on"),
        (lambda c: c["tolerance"].update(relative=10**400), "needs tolerance.relative as a number from 0 on"),
    ],
)
def test_what_the_manifest_lacks_is_named(
    change: Callable[[dict[str, Any]], object], message: str, bundle: Path
) -> None:
    edit(bundle, change)
    assert complaint(bundle).startswith(f"{bundle}/manifest.json {message}")


def test_what_is_only_for_information_may_be_anything(bundle: Path) -> None:
    edit(bundle, lambda content: content["tolerance"].update(batch_sizes=3))
    assert open_bundle(bundle).tolerance.batch_sizes == ()


def test_a_mixture_comes_with_the_decoder(bundle: Path) -> None:
    assert "mixture" not in read_manifest(bundle).models  # as in bundles of earlier releases
    mixtures.add(bundle)
    for folder, place in ((bundle, "decoder/mixture"), (bundle / "decoder", "mixture")):
        mixture = read_manifest(folder).models["mixture"]
        assert mixture.variants["float32"].file == f"{place}/model.onnx"
        assert mixture.vectors == (
            tuple(f"{place}/test_data_set_0/{name}.pb" for name in ("input_0", "input_1", "output_0")),
        )
    assert "mixture" not in read_manifest(bundle / "encoder").models


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda about: about.pop("file"), "needs mixture.file as str, found nothing"),
        (lambda about: about.update(file="../model.onnx"), "has mixture.file '../model.onnx', expected a path within"),
        (lambda about: about.update(file="other.onnx"), "does not list other.onnx under files"),
        (lambda about: about.update(inputs=["noise float32[batch, 3]"]), "says that the mixture has ['noise float32[b"),
        (lambda about: about.pop("test_data"), "needs mixture.test_data as str, found nothing"),
    ],
)
def test_what_the_entry_of_a_mixture_lacks_is_named(
    change: Callable[[dict[str, Any]], object], message: str, bundle: Path
) -> None:
    mixtures.add(bundle)
    edit(bundle, lambda content: change(content["mixture"]))
    assert complaint(bundle).startswith(f"{bundle}/manifest.json {message}")
    edit(bundle, lambda content: content.update(mixture=None))
    assert complaint(bundle).startswith(f"{bundle}/manifest.json needs mixture as an object, found NoneType")


@pytest.mark.parametrize("path", ["/etc/passwd", "../a", "a/../../b", "", ".", "a\\b", "a\0b", "a\nb", "\ud800"])
def test_a_path_that_leaves_the_folder_is_refused(path: str, bundle: Path) -> None:
    edit(bundle, lambda content: content["files"][0].update(path=path))
    assert f"has files[0].path {path!a}, expected a path within the folder" in complaint(bundle)
    edit(bundle, lambda content: content["files"].pop(0))
    edit(bundle, lambda content: content["models"]["encoder"].update(test_data=path))
    assert f"has models.encoder.test_data {path!a}, expected" in complaint(bundle)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b"1" * 10_000, b"[]", b"null"])
def test_what_is_no_manifest_is_refused_in_one_line(content: bytes, bundle: Path) -> None:
    (bundle / MANIFEST_FILE).write_bytes(content)
    assert complaint(bundle).startswith(f"{bundle}/manifest.json ")


def test_a_folder_without_a_manifest_is_no_bundle(tmp_path: Path) -> None:
    assert complaint(tmp_path).startswith(f"{tmp_path}/manifest.json was not found")


def test_a_manifest_is_held_to_its_own_digest(bundle: Path) -> None:
    path = bundle / MANIFEST_FILE
    path.write_text(path.read_text().replace('"absolute": 0.0001', '"absolute": 0.0002'))
    assert complaint(bundle) == f"{path} is not what its manifest_sha256 says; download the bundle again"
    path.write_text(path.read_text().replace(DIGEST, "digest"))
    assert complaint(bundle).startswith(f"{path} needs manifest_sha256 as str, found nothing")


@settings(deadline=None)
@given(data=st.data())
def test_a_changed_byte_of_a_manifest_is_refused_unless_it_says_the_same(good: Path, data: st.DataObject) -> None:
    path = good / "decoder" / MANIFEST_FILE
    whole = path.read_bytes()
    content = bytearray(whole)
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    try:
        open_bundle(path.parent)
    except BundleError:
        return
    else:
        assert json.loads(content) == json.loads(whole)
    finally:
        path.write_bytes(whole)
