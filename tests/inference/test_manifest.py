"""A role that is new needs an entry in the table of roles, nothing in the manifest's reader, writer and schema."""

import json
from pathlib import Path

import jsonschema
import pytest

from pipeline.inference.manifest import read_manifest, write_manifest
from pipeline.shared.interface import ROLES
from tests import painters

SCHEMA = json.loads((Path(__file__).parents[2] / "docs/manifest.schema.json").read_text())


def test_a_model_of_a_new_role_is_written_by_the_schema_and_reads_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ROLES, "painter", painters.PAINTER)
    manifest = painters.save(tmp_path)
    write_manifest(tmp_path, manifest)
    content = json.loads((tmp_path / "manifest.json").read_text())
    jsonschema.Draft202012Validator(SCHEMA).validate(content)
    assert content["models"]["painter"]["inputs"] == [
        "z float32[batch, 2]",
        "rows float32[height]",
        "columns float32[width]",
        "pixel float32[1]",
        "softness float32[1]",
    ]
    assert read_manifest(tmp_path) == manifest


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("inputs", None),
        ("inputs", ["z float32[batch, 2]"]),
        ("input", "z float32[batch, 2]"),
        ("outputs", []),
        ("variants", {}),
    ],
)
def test_the_schema_refuses_a_model_without_its_tensors_or_with_both_ways_to_list_them(
    key: str, value: object, tmp_path: Path
) -> None:
    write_manifest(tmp_path, painters.save(tmp_path))
    content = json.loads((tmp_path / "manifest.json").read_text())
    model = content["models"]["painter"]
    content["models"]["painter"] = (
        {**model, key: value} if value is not None else {k: model[k] for k in model if k != key}
    )
    (error,) = jsonschema.Draft202012Validator(SCHEMA).iter_errors(content)
    assert list(error.absolute_path)[:2] == ["models", "painter"]
