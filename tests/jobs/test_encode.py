import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.errors import DataError, FormatError, ModelError, OutputError
from pipeline.inference import Encoder
from pipeline.inference.appearance import Appearance
from pipeline.jobs.encode import encode
from pipeline.jobs.engine import Options, Plan, Summary
from pipeline.jobs.target import open_target
from pipeline.sources.images import Rows, open_images
from tests import onnx_models
from tests.conftest import bytes_of, names_in
from tests.sources import piles

PLAIN, QUARANTINE = Options(), Options(on_error="quarantine")
NO_LABELS = {"pile.idx", "pile.idx.gz", "pile-idx3-ubyte", "pile.npy", "colour.npy"}


@pytest.fixture(scope="module")
def pile(tmp_path_factory: pytest.TempPathFactory, images: NDArray[np.uint8]) -> Path:
    """1,000 images with labels."""
    labels = [index % 10 for index in range(1000)]
    return piles.write(tmp_path_factory.mktemp("pile") / "pile.npz", images[:1000], labels)


def run(encoder: Encoder, pile: Path, output: Path, options: Options = PLAIN, *, format_: str = "auto") -> Summary:
    with open_images(pile) as source:
        summary = encode(encoder, source, open_target(output, format_), options)
    assert isinstance(summary, Summary)
    return summary


def damaged(folder: Path, images: NDArray[np.uint8], *bad: int) -> Path:
    """A folder of pictures, some of which are none."""
    piles.write(folder / "folder_of_png", images)
    for row in bad:
        (folder / "folder_of_png" / f"{row:04d}.png").write_bytes(b"not a picture")
    return folder / "folder_of_png"


def test_latents_of_every_image_in_order_are_those_of_the_network(
    encoder: Encoder, pile: Path, images: NDArray[np.uint8], folder: Path
) -> None:
    summary = run(encoder, pile, folder)
    table = pq.read_table(folder)
    assert (summary.rows, summary.parts, summary.quarantined, summary.picture) == (1000, 1, 0, None)
    assert table["index"].to_pylist() == list(range(1000))
    assert table["label"].to_pylist() == [index % 10 for index in range(1000)]
    expected = onnx_models.encode_in_numpy(onnx_models.encoder(), images[:1000])
    for name, values in zip(("z_mean", "z_log_var"), expected, strict=True):
        np.testing.assert_allclose(table[name].to_pylist(), values, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("latent_dim", [1, 20])
def test_schema_and_metadata(latent_dim: int, pile: Path, folder: Path, tmp_path: Path) -> None:
    encoder = Encoder(onnx_models.save(onnx_models.encoder(latent_dim), tmp_path / "encoder"))
    run(encoder, pile, folder)
    schema = pq.read_schema(folder / "part-00000.parquet")
    latents = pa.list_(pa.float32(), latent_dim)
    assert schema.equals(
        pa.schema([("index", pa.int64()), ("label", pa.uint8()), ("z_mean", latents), ("z_log_var", latents)])
    )
    (part,) = json.loads((folder / "_manifest.json").read_text())["files"]
    assert schema.metadata == {
        b"model_sha256": encoder.sha256.encode(),
        b"latent_dim": str(latent_dim).encode(),
        b"source_xxh3_128": part["source_xxh3_128"].encode(),
    }


def test_the_manifest_says_what_was_done(encoder: Encoder, pile: Path, folder: Path) -> None:
    run(encoder, pile, folder)
    part = folder / "part-00000.parquet"
    manifest = json.loads((folder / "_manifest.json").read_text())
    digests = {name: value for name, value in manifest["files"][0].items() if name.endswith("xxh3_128")}
    assert all(len(digest) == 32 for digest in digests.values())
    assert manifest == {
        "schema_version": 1,
        "job": "encode",
        "format": "parquet",
        "encoder": encoder.about(),
        "rows": 1000,
        "quarantined": 0,
        "files": [
            {"file": part.name, "rows": 1000, "bytes": part.stat().st_size, "source_rows": 1000, **digests},
        ],
    }


def test_an_npy_file_holds_the_means_and_an_npz_file_every_column(
    encoder: Encoder, pile: Path, images: NDArray[np.uint8], folder: Path
) -> None:
    z_mean, z_log_var = encoder(images[:1000])
    run(encoder, pile, folder.with_name("x.npy"))
    run(encoder, pile, folder.with_name("x.npz"))
    assert np.load(folder.with_name("x.npy")).tobytes() == z_mean.tobytes()
    with np.load(folder.with_name("x.npz")) as found:
        assert {name: (str(found[name].dtype), found[name].tolist()) for name in found.files} == {
            "index": ("int64", list(range(1000))),
            "label": ("int16", [index % 10 for index in range(1000)]),
            "z_mean": ("float32", z_mean.tolist()),
            "z_log_var": ("float32", z_log_var.tolist()),
        }


def test_latents_are_no_pictures(encoder: Encoder, pile: Path, folder: Path) -> None:
    with pytest.raises(OutputError, match="latents can't be written as png; choose parquet, npy or npz"):
        run(encoder, pile, folder, format_="png")
    assert names_in(folder.parent) == []


@pytest.mark.parametrize("output", ["out", "x.npz"])
def test_equal_bytes_for_every_batch_size_and_number_of_workers(
    output: str, encoder: Encoder, images: NDArray[np.uint8], tmp_path: Path
) -> None:
    pile = piles.write(tmp_path / "pile.npy", np.resize(images, (5000, 28, 28)))
    results = []
    for workers, batch_size in ((1, 1), (2, 7), (1, 512), (2, 4096)):
        place = tmp_path / f"{workers}-{batch_size}"
        run(Encoder(encoder.path, workers=workers, batch_size=batch_size), pile, place / output, Options())
        results.append(bytes_of(place))
    assert all(result == results[0] for result in results)


@pytest.mark.parametrize("labelled", [False, True])
def test_equal_bytes_for_every_format_of_the_same_images(
    labelled: bool, encoder: Encoder, images: NDArray[np.uint8], tmp_path: Path
) -> None:
    """Labels as a folder of pictures sorts them; where the format has no place for them, there are none."""
    labels = [row // 30 for row in range(150)] if labelled else None
    results = {}
    for name in [name for name in piles.FORMATS if not labelled or name not in NO_LABELS]:
        output = tmp_path / f"from {name}."
        run(encoder, piles.write(tmp_path / name, images[:150], labels), output)
        results[name] = bytes_of(output), pq.read_table(output)
    content, table = results["pile.npz"]
    assert sorted(content) == ["_manifest.json", "part-00000.parquet"]
    named = [name for name, (_, found) in results.items() if "source" in found.column_names]
    assert named == ["folder_of_png", "pile.tar", "pile.tar.gz", "folder_of_tar"]
    assert all(found == content for name, (found, _) in results.items() if name not in named)
    assert all(results[name][1].drop_columns("source").equals(table, check_metadata=True) for name in named)


@pytest.mark.parametrize("suffix", ["", ".npz"])
def test_rows_say_which_file_they_came_from(
    suffix: str, encoder: Encoder, images: NDArray[np.uint8], tmp_path: Path
) -> None:
    pile = piles.write(tmp_path / "folder_of_png", images[:3], [1, 1, 2])
    (pile / "2/a longer name.png").write_bytes(piles.png(images[3]))
    run(encoder, pile, tmp_path / f"out{suffix}")
    found = np.load(tmp_path / "out.npz")["source"] if suffix else pq.read_table(tmp_path / "out")["source"]
    assert [str(name) for name in found] == ["1/0000.png", "1/0001.png", "2/0002.png", "2/a longer name.png"]


def test_without_labels_the_column_is_null(encoder: Encoder, images: NDArray[np.uint8], folder: Path) -> None:
    run(encoder, piles.write(folder.with_name("pile.npy"), images[:5]), folder)
    labels = pq.read_table(folder)["label"]
    assert (labels.type, labels.to_pylist()) == (pa.uint8(), [None] * 5)


def test_a_second_part_starts_after_65536_rows(encoder: Encoder, images: NDArray[np.uint8], folder: Path) -> None:
    pile = piles.write(folder.with_name("pile.npy"), np.resize(images, (65_541, 28, 28)))
    assert run(encoder, pile, folder).parts == 2
    first, second = (pq.read_table(file) for file in sorted(folder.glob("*.parquet")))
    assert first["index"].to_pylist() == list(range(65_536))
    assert second["index"].to_pylist() == list(range(65_536, 65_541))
    assert second["z_mean"].to_pylist() == encoder(images[:5])[0].tolist()


@pytest.mark.parametrize("kind", ["pile.npy", "pile.tar"])
def test_a_limit_takes_the_first_rows(kind: str, encoder: Encoder, images: NDArray[np.uint8], folder: Path) -> None:
    run(encoder, piles.write(folder.with_name(kind), images[:40]), folder, Options(limit=17))
    assert pq.read_table(folder)["z_mean"].to_pylist() == encoder(images[:17])[0].tolist()


@pytest.mark.parametrize(("count", "rows"), [(1000, 17), (10, 10)])
def test_a_dry_run_says_what_would_be_done_and_writes_nothing(
    count: int, rows: int, encoder: Encoder, images: NDArray[np.uint8], folder: Path
) -> None:
    pile = piles.write(folder.with_name("pile.npy"), images[:count])
    with open_images(pile) as source:
        found = encode(encoder, source, open_target(folder), Options(limit=17), dry_run=True)
    assert found == Plan(str(folder), str(pile), rows, limit=17, parts=1, finished_parts=0)
    assert str(found) == f"{pile}: {rows} rows to {folder}; nothing was written"
    assert names_in(folder.parent) == ["pile.npy"]


def test_a_bad_row_is_named_and_leaves_nothing(
    encoder: Encoder, images: NDArray[np.uint8], folder: Path, tmp_path: Path
) -> None:
    pile = damaged(tmp_path, images[:9], 5)
    with pytest.raises(FormatError, match=r"folder_of_png/0005\.png: .*; --on-error quarantine sets such rows aside"):
        run(encoder, pile, folder)
    assert names_in(folder.parent) == []


@settings(deadline=None, max_examples=8)
@given(bad=st.sets(st.integers(0, 8), max_size=8))
def test_quarantine_sets_bad_rows_aside_and_keeps_the_rows_of_the_source(
    bad: set[int], encoder: Encoder, images: NDArray[np.uint8], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("job")
    summary = run(encoder, damaged(folder, images[:9], *bad), folder / "out", QUARANTINE)
    good = [row for row in range(9) if row not in bad]
    table = pq.read_table(folder / "out")
    assert table["index"].to_pylist() == good
    assert table["z_mean"].to_pylist() == encoder(images[good])[0].tolist()
    manifest = json.loads((folder / "out" / "_manifest.json").read_text())
    assert summary.quarantined == manifest["quarantined"] == len(bad)
    assert summary.rows == manifest["rows"] == len(good)
    assert manifest["files"][0]["source_rows"] == 9
    listed = folder / "out" / "_quarantine.jsonl"
    entries = [json.loads(line) for line in listed.read_text().splitlines()] if bad else []
    assert [entry["index"] for entry in entries] == sorted(bad)
    assert all(Path(entry["name"]).name == f"{entry['index']:04d}.png" and entry["reason"] for entry in entries)
    assert listed.exists() == bool(bad)


def test_a_single_file_has_the_list_beside_it(encoder: Encoder, images: NDArray[np.uint8], folder: Path) -> None:
    pile = damaged(folder.parent, images[:9], 3)
    run(encoder, pile, folder.with_name("x.npy"), QUARANTINE)
    assert len(np.load(folder.with_name("x.npy"))) == 8
    assert names_in(folder.parent) == ["folder_of_png", "x.npy", "x.npy.manifest.json", "x.npy.quarantine.jsonl"]
    (pile / "0003.png").write_bytes(piles.png(images[3]))
    run(encoder, pile, folder.with_name("x.npy"), QUARANTINE)
    assert names_in(folder.parent) == ["folder_of_png", "x.npy", "x.npy.manifest.json"]


def test_a_failure_keeps_the_earlier_result(encoder: Encoder, pile: Path, folder: Path, tmp_path: Path) -> None:
    run(encoder, pile, folder)
    before = bytes_of(folder)
    model = onnx_models.set_constant(onnx_models.encoder(), "z_mean_b", np.full(2, np.inf, np.float32))
    with pytest.raises(ModelError, match="not finite"):
        run(Encoder(onnx_models.save(model, tmp_path / "broken")), pile, folder)
    assert bytes_of(folder) == before
    assert names_in(folder.parent) == ["out"]


def test_a_source_that_changes_meanwhile_is_refused(encoder: Encoder, images: NDArray[np.uint8], folder: Path) -> None:
    pile = damaged(folder.parent, images[:9])
    with open_images(pile) as source:
        read = source.read
        source.read = lambda *rows: [(pile / "late.png").write_bytes(b""), read(*rows)][1]  # type: ignore[method-assign]
        with pytest.raises(DataError, match=r"folder_of_png changed while it was read; run the command again when it"):
            encode(encoder, source, open_target(folder), Options())
    assert names_in(folder.parent) == ["folder_of_png"]


def test_a_batch_job_loads_no_pandas(encoder: Encoder, pile: Path, folder: Path) -> None:
    """Which pyarrow would import where it is installed, as it is here, and takes 0.3 s."""
    script = (
        "import sys; from pipeline.cli import app\n"
        f"app(['encode', '{pile}', '-o', '{folder}', '--encoder', '{encoder.path}'], standalone_mode=False)\n"
        "loaded = {'pandas', 'tensorflow', 'keras', 'onnx', 'PIL'} & set(sys.modules)\n"
        "assert not loaded, loaded"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert pq.read_metadata(folder / "part-00000.parquet").num_rows == 1000


def test_the_summary_says_how_many_have_a_label_and_where_from(
    encoder: Encoder, images: NDArray[np.uint8], tmp_path: Path
) -> None:
    pile = piles.write(tmp_path / "folder_of_png", images[:5], [0, 1, 1, 2, 2])
    (pile / "0005.png").write_bytes(piles.png(images[5]))
    (pile / "notes.txt").touch()
    summary = run(encoder, pile, tmp_path / "out")
    assert (summary.rows, summary.labelled, summary.labels_from) == (6, 5, "names of folders")
    assert summary.passed_over == {".txt": 1}
    first, second, _ = str(summary).splitlines()
    assert first.endswith("out: 6 rows, 5 with a label (names of folders)")
    assert second == "passed over: 1 .txt"


def test_labels_are_counted_when_parts_are_taken_over(
    encoder: Encoder, images: NDArray[np.uint8], tmp_path: Path
) -> None:
    pile = tmp_path / "pile.npz"
    labels = np.arange(65_540) % 10
    np.savez(pile, images=np.resize(images, (65_540, 28, 28)), labels=np.where(labels == 9, -1, labels))
    expected = int((labels != 9).sum())
    target = open_target(tmp_path / "out")
    with pytest.raises(KeyboardInterrupt), open_images(pile) as source:
        source.read = interrupted(source.read)
        encode(encoder, source, target, PLAIN)
    summary = run(encoder, pile, tmp_path / "out")
    assert (summary.resumed_parts, summary.labelled) == (1, expected)


def interrupted(read: Callable[[int, int], Callable[[], Rows]]) -> Callable[[int, int], Callable[[], Rows]]:
    """Ends the job in its second part."""

    def stopping(start: int, stop: int) -> Callable[[], Rows]:
        if start >= 65_536:
            raise KeyboardInterrupt
        return read(start, stop)

    return stopping


def test_names_of_classes_travel_with_the_latents(encoder: Encoder, images: NDArray[np.uint8], tmp_path: Path) -> None:
    np.savez(tmp_path / "pile.npz", x=images[:4], y=["dog", "cat", "dog", "eel"])
    run(encoder, tmp_path / "pile.npz", tmp_path / "out")
    (part,) = (tmp_path / "out").glob("*.parquet")
    assert json.loads(pq.read_schema(part).metadata[b"classes"]) == ["cat", "dog", "eel"]
    assert json.loads((tmp_path / "out/_manifest.json").read_text())["classes"] == ["cat", "dog", "eel"]
    assert pq.read_table(part)["label"].to_pylist() == [1, 0, 1, 2]


def test_images_unlike_the_training_images_are_remarked_upon_once(
    images: NDArray[np.uint8], prepared_sample: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    digits = np.load(prepared_sample / "train_images.npy")
    model = onnx_models.encoder()
    for name, value in Appearance.of(digits).facts().items():
        model.metadata_props.add(key=name, value=value)
    encoder = Encoder(onnx_models.save(model, tmp_path / "encoder"))
    for name, pile in (("digits", digits), ("dark", np.resize(255 - digits, (65_540, 28, 28)))):
        np.save(tmp_path / f"{name}.npy", pile)
        caplog.clear()
        summary = run(encoder, tmp_path / f"{name}.npy", tmp_path / name)
        assert len(caplog.messages) == len(summary.remarks) == (name == "dark")
    assert "say --invert" in summary.remarks[0]
    assert caplog.messages == [f"WARNING: {summary.remarks[0]}"]
