"""A model that keeps data in another file: taken where the bundle's manifest lists that file, else refused."""

import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from pipeline.errors import BundleError, ModelError
from pipeline.inference import Encoder
from pipeline.inference.model import open_session
from pipeline.shared.interface import HALVES, VARIANT_FILES
from pipeline.tools.verify import info, verify
from tests import onnx_models

ADVICE = "in another file; export it with its data inside, or give a bundle whose manifest.json lists that file"


def sign(bundle: Path) -> None:
    """Write the manifests that fit the files as they are now."""
    for role in HALVES:
        onnx_models.write_manifest(bundle / role, [role])
    onnx_models.write_manifest(bundle, list(HALVES))


def move_out(bundle: Path, location: str | None = None) -> list[Path]:
    """Keep the data of the encoder's variants in files beside them, or say so of `location`; returns these files."""
    moved = []
    for name in VARIANT_FILES.values():
        file = bundle / "encoder" / name
        model = onnx.load(file)
        onnx.save(
            model, file, save_as_external_data=True, location=f"{name}.data", size_threshold=100
        )  # weights, not shapes
        moved.append(file.with_name(f"{name}.data"))
        if location is not None:
            model = onnx.load(file, load_external_data=False)
            for tensor in model.graph.initializer:
                for entry in tensor.external_data:
                    entry.value = location if entry.key == "location" else entry.value
            file.write_bytes(model.SerializeToString())
    return moved


def test_data_beside_a_model_that_the_manifest_lists_are_taken(
    bundle: Path, good: Path, images: NDArray[np.uint8]
) -> None:
    move_out(bundle)
    sign(bundle)
    assert len(verify(bundle).checked) == len(verify(bundle / "encoder").checked) + 3 == 6
    for place in (bundle, bundle / "encoder"):
        for precision in VARIANT_FILES:
            found = Encoder(place, precision=precision)
            expected = Encoder(good / "encoder", precision=precision)(images[:300])
            assert all(np.array_equal(one, other) for one, other in zip(found(images[:300]), expected, strict=True))
            again = pickle.loads(pickle.dumps(found))
            assert (again.path, again.sha256) == (found.path, found.sha256)


def test_its_data_travel_with_it(bundle: Path, images: NDArray[np.uint8]) -> None:
    move_out(bundle)
    sign(bundle)
    model = Encoder(bundle)
    expected = model(images[:300])
    sent = pickle.dumps(model)
    shutil.rmtree(bundle)
    found = pickle.loads(sent)(images[:300])
    assert all(np.array_equal(one, other) for one, other in zip(found, expected, strict=True))


def test_other_data_are_another_model(bundle: Path) -> None:
    (data, *_) = move_out(bundle)
    sign(bundle)
    first = Encoder(bundle / "encoder")
    model = bundle.joinpath("encoder/model.onnx").read_bytes()
    content = bytearray(data.read_bytes())
    content[-1] ^= 1
    data.write_bytes(content)
    with pytest.raises(BundleError, match=r"model\.onnx\.data has the SHA-256"):
        Encoder(bundle / "encoder")
    sign(bundle)
    assert bundle.joinpath("encoder/model.onnx").read_bytes() == model
    assert Encoder(bundle / "encoder").sha256 != first.sha256


def test_data_that_change_after_they_were_checked_are_refused(bundle: Path) -> None:
    (data, *_) = move_out(bundle)
    with pytest.raises(BundleError, match=r"model\.onnx\.data was changed while it was read; download the bundle"):
        open_session(bundle / "encoder/model.onnx", listed={data: "0" * 64})


def not_listed(bundle: Path, outside: Path) -> None:
    for data in move_out(bundle):
        data.rename(outside / data.name)
    sign(bundle)
    for data in outside.iterdir():
        shutil.copy(data, bundle / "encoder")


def no_manifest(bundle: Path, _: Path) -> None:
    move_out(bundle)
    (bundle / "encoder/manifest.json").unlink()


def saying(location: str) -> Callable[[Path, Path], None]:
    def spoil(bundle: Path, outside: Path) -> None:
        for data in move_out(bundle, location.format(outside=outside)):
            shutil.copy(data, bundle / "weights.data")
            shutil.copy(data, outside / "weights.data")
            shutil.copy(data, bundle / "encoder/weights.data")
        sign(bundle)

    return spoil


def a_link(bundle: Path, outside: Path) -> None:
    for data in move_out(bundle):
        data.rename(outside / data.name)
        data.symlink_to(outside / data.name)
    sign(bundle)


def below_a_link(bundle: Path, outside: Path) -> None:
    for data in move_out(bundle, "sub/weights.data"):
        data.rename(outside / "weights.data")
    (bundle / "encoder/sub").symlink_to(outside)
    listed = {bundle / "encoder/sub/weights.data": "0" * 64}
    with pytest.raises(ModelError, match=ADVICE):
        open_session(bundle / "encoder/model.onnx", listed=listed)
    sign(bundle)


@pytest.mark.parametrize(
    "spoil",
    [
        not_listed,
        no_manifest,
        a_link,
        below_a_link,
        saying("../weights.data"),
        saying("{outside}/weights.data"),
        saying("sub/../weights.data"),
        saying("./weights.data"),
        saying("*/_ORT_MEM_ADDR_/*"),
        saying(""),
    ],
)
def test_any_other_file_is_refused(
    spoil: Callable[[Path, Path], None], bundle: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    spoil(bundle, tmp_path_factory.mktemp("outside"))
    with pytest.raises(ModelError) as refusal:
        Encoder(bundle / "encoder")
    assert "keeps the data of its tensor '" in str(refusal.value)
    assert ADVICE in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_file_alone_says_nothing_of_its_data(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    move_out(bundle)
    sign(bundle)
    monkeypatch.chdir(bundle / "encoder")
    for function in (Encoder, info):
        with pytest.raises(ModelError, match=ADVICE):
            function(Path("model.onnx"))


def test_data_that_are_too_short_are_no_usable_model(bundle: Path) -> None:
    for data in move_out(bundle):
        os.truncate(data, data.stat().st_size // 2)
    sign(bundle)
    with pytest.raises(ModelError, match=r"model\.onnx is not a usable ONNX file: "):
        Encoder(bundle / "encoder")
