import itertools
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from pipeline.errors import FormatError, ModelError, OutputError
from pipeline.inference import Decoder, Encoder, Scorer
from pipeline.jobs.engine import Options, Plan, Summary
from pipeline.jobs.score import score
from pipeline.jobs.strangest import draw_strangest
from pipeline.jobs.target import open_target
from pipeline.sources.images import Rows, open_images
from tests import onnx_models, small_parts
from tests.conftest import bytes_of, names_in
from tests.sources import piles

PLAIN, QUARANTINE = Options(), Options(on_error="quarantine")
NO_LABELS = {"pile.idx", "pile.idx.gz", "pile-idx3-ubyte", "pile.npy", "colour.npy"}
NAMES = ("excess", "reconstruction", "kl", "score")

Pixels = NDArray[np.uint8]


@pytest.fixture(scope="module")
def exports(images: Pixels, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose scorer finds the last thousand of the images usual."""
    folder = onnx_models.save_bundle(tmp_path_factory.mktemp("bundle") / "exports")
    return onnx_models.put_scorer(folder, usual=onnx_models.score_in_numpy(images[-1000:])[3])


@pytest.fixture
def scorer(exports: Path) -> Scorer:
    return Scorer(exports / "scorer")


@pytest.fixture(scope="module")
def pile(tmp_path_factory: pytest.TempPathFactory, images: Pixels) -> Path:
    """1,000 images with labels."""
    labels = [index % 10 for index in range(1000)]
    return piles.write(tmp_path_factory.mktemp("pile") / "pile.npz", images[:1000], labels)


@pytest.fixture
def in_small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """256 rows a part, 64 a stretch."""
    monkeypatch.setattr("pipeline.jobs.score.ScoreJob", small_parts.SmallScores)


def run(
    scorer: Scorer, pile: Path, output: Path, options: Options = PLAIN, *, format_: str = "auto", **what: Any
) -> Summary:
    with open_images(pile) as source:
        summary = score(scorer, source, open_target(output, format_), options, **what)
    assert isinstance(summary, Summary)
    return summary


def damaged(folder: Path, images: Pixels, *bad: int) -> Path:
    """A folder of pictures, some of which are none."""
    piles.write(folder / "folder_of_png", images)
    for row in bad:
        (folder / "folder_of_png" / f"{row:04d}.png").write_bytes(b"not a picture")
    return folder / "folder_of_png"


# Scores


def test_scores_of_every_image_in_order_are_those_of_the_networks(
    scorer: Scorer, pile: Path, images: Pixels, folder: Path
) -> None:
    summary = run(scorer, pile, folder)
    table = pq.read_table(folder)
    assert (summary.rows, summary.parts, summary.quarantined, summary.picture) == (1000, 1, 0, None)
    assert table["index"].to_pylist() == list(range(1000))
    assert table["label"].to_pylist() == [index % 10 for index in range(1000)]
    expected = onnx_models.score_in_numpy(images[:1000])
    for name, values in zip(NAMES, expected, strict=True):
        np.testing.assert_allclose(table[name].to_numpy(), values, rtol=1e-4, atol=1e-3)
    usual = np.sort(onnx_models.score_in_numpy(images[-1000:])[3])
    below = 100 * np.searchsorted(usual, expected[3]) / 1000
    np.testing.assert_allclose(table["percentile"].to_numpy(), below, atol=0.3)
    assert scorer.usual is not None
    np.testing.assert_array_equal(table["percentile"].to_numpy(), scorer.usual.percentile(table["score"].to_numpy()))


@pytest.mark.parametrize("latents", [False, True])
def test_schema_and_metadata(latents: bool, scorer: Scorer, exports: Path, images: Pixels, folder: Path) -> None:
    pile = piles.write(folder.with_name("folder_of_png"), images[:3])
    run(scorer, pile, folder, latents=latents)
    schema = pq.read_schema(folder / "part-00000.parquet")
    columns = [("index", pa.int64()), ("label", pa.uint8()), ("source", pa.string())]
    columns += [(name, pa.float32()) for name in (*NAMES, "percentile")]
    columns += [("z_mean", pa.list_(pa.float32(), 2))] if latents else []
    assert schema.equals(pa.schema(columns))
    (part,) = json.loads((folder / "_manifest.json").read_text())["files"]
    encoder = {b"encoder_sha256": Encoder(exports / "encoder").sha256.encode(), b"latent_dim": b"2"}
    assert schema.metadata == {
        b"model_sha256": scorer.sha256.encode(),
        b"precision": b"float32",
        b"source_xxh3_128": part["source_xxh3_128"].encode(),
        **(encoder if latents else {}),
    }
    if latents:
        z_mean = Encoder(exports / "encoder")(images[:3])[0]
        assert pq.read_table(folder)["z_mean"].to_pylist() == z_mean.tolist()


@pytest.mark.parametrize("latents", [False, True])
def test_the_manifest_says_what_was_done(
    latents: bool, scorer: Scorer, exports: Path, pile: Path, folder: Path
) -> None:
    run(scorer, pile, folder, latents=latents)
    manifest = json.loads((folder / "_manifest.json").read_text())
    files = manifest.pop("files")
    assert [file["file"] for file in files] == ["part-00000.parquet"]
    assert manifest == {
        "schema_version": 1,
        "job": "score",
        "format": "parquet",
        "scorer": scorer.about(),
        **({"encoder": Encoder(exports / "encoder").about()} if latents else {}),
        "rows": 1000,
        "quarantined": 0,
    }


@pytest.mark.parametrize("latents", [False, True])
def test_an_npy_file_holds_the_score_and_an_npz_file_every_column(
    latents: bool, scorer: Scorer, exports: Path, pile: Path, images: Pixels, folder: Path
) -> None:
    scores = scorer(images[:1000])
    run(scorer, pile, folder.with_name("x.npy"), latents=latents)
    run(scorer, pile, folder.with_name("x.npz"), latents=latents)
    score = np.load(folder.with_name("x.npy"))
    assert (score.dtype, score.tobytes()) == (np.float32, scores.score.tobytes())
    assert scorer.usual is not None
    expected: dict[str, tuple[str, list[Any]]] = {
        "index": ("int64", list(range(1000))),
        "label": ("int16", [index % 10 for index in range(1000)]),
        **{name: ("float32", getattr(scores, name).tolist()) for name in NAMES},
        "percentile": ("float32", scorer.usual.percentile(scores.score).tolist()),
    }
    if latents:
        expected["z_mean"] = ("float32", Encoder(exports / "encoder")(images[:1000])[0].tolist())
    with np.load(folder.with_name("x.npz")) as found:
        assert {name: (str(found[name].dtype), found[name].tolist()) for name in found.files} == expected


@pytest.mark.parametrize(("name", "format_"), [("out", "png"), ("x.png", "auto")])
def test_scores_are_no_pictures(name: str, format_: str, scorer: Scorer, pile: Path, folder: Path) -> None:
    with pytest.raises(OutputError, match="scores can't be written as png; choose parquet, npy or npz"):
        run(scorer, pile, folder.with_name(name), format_=format_)
    assert names_in(folder.parent) == []


@pytest.mark.parametrize("output", ["out", "x.npz"])
def test_equal_bytes_for_every_batch_size_and_number_of_workers(
    output: str, scorer: Scorer, images: Pixels, tmp_path: Path
) -> None:
    pile = piles.write(tmp_path / "pile.npy", np.resize(images, (5000, 28, 28)))
    results = []
    for workers, batch_size in ((1, 1), (2, 7), (1, 512), (2, 4096)):
        place = tmp_path / f"{workers}-{batch_size}"
        sized = Scorer(scorer.path, workers=workers, batch_size=batch_size)
        run(sized, pile, place / output, most=12, latents=True)
        results.append(bytes_of(place))
    assert f"{output}.png" in results[0]
    assert all(result == results[0] for result in results)


@pytest.mark.parametrize("labelled", [False, True])
def test_equal_bytes_for_every_format_of_the_same_images(
    labelled: bool, scorer: Scorer, images: Pixels, tmp_path: Path
) -> None:
    """Labels as a folder of pictures sorts them; where the format has no place for them, there are none."""
    labels = [row // 30 for row in range(150)] if labelled else None
    results = {}
    for name in [name for name in piles.FORMATS if not labelled or name not in NO_LABELS]:
        output = tmp_path / f"from {name}."
        run(scorer, piles.write(tmp_path / name, images[:150], labels), output, most=5)
        results[name] = bytes_of(output), pq.read_table(output), Path(f"{output}.png").read_bytes()
    content, table, picture = results["pile.npz"]
    assert all(found == picture for _, _, found in results.values())
    named = [name for name, (_, found, _) in results.items() if "source" in found.column_names]
    assert named == ["folder_of_png", "pile.tar", "pile.tar.gz", "folder_of_tar"]
    assert all(found == content for name, (found, _, _) in results.items() if name not in named)
    assert all(results[name][1].drop_columns("source").equals(table, check_metadata=True) for name in named)


def test_labels_names_of_classes_and_sources_are_carried(scorer: Scorer, images: Pixels, tmp_path: Path) -> None:
    run(scorer, piles.write(tmp_path / "folder_of_png", images[:3], [1, 1, 2]), tmp_path / "out")
    table = pq.read_table(tmp_path / "out")
    assert table["label"].to_pylist() == [1, 1, 2]
    assert table["source"].to_pylist() == ["1/0000.png", "1/0001.png", "2/0002.png"]
    np.savez(tmp_path / "pile.npz", x=images[:4], y=["dog", "cat", "dog", "eel"])
    run(scorer, tmp_path / "pile.npz", tmp_path / "named", most=2)
    (part,) = (tmp_path / "named").glob("*.parquet")
    assert json.loads(pq.read_schema(part).metadata[b"classes"]) == ["cat", "dog", "eel"]
    assert json.loads((tmp_path / "named/_manifest.json").read_text())["classes"] == ["cat", "dog", "eel"]


def test_quarantine_sets_bad_rows_aside_and_keeps_the_rows_of_the_source(
    scorer: Scorer, images: Pixels, folder: Path
) -> None:
    pile = damaged(folder.parent, images[:9], 0, 5)
    with pytest.raises(FormatError, match=r"folder_of_png/0000\.png: .*; --on-error quarantine sets such rows aside"):
        run(scorer, pile, folder, most=3)
    assert names_in(folder.parent) == ["folder_of_png"]
    summary = run(scorer, pile, folder, QUARANTINE, most=3)
    assert (summary.rows, summary.quarantined) == (7, 2)
    good = [1, 2, 3, 4, 6, 7, 8]
    table = pq.read_table(folder)
    assert table["index"].to_pylist() == good
    assert table["score"].to_pylist() == scorer(images[good]).score.tolist()
    assert picture(folder) == expected_picture(scorer, images[:9], 3, rows=good)


def test_a_pile_of_bad_rows_alone_has_a_picture_of_nothing(scorer: Scorer, images: Pixels, folder: Path) -> None:
    summary = run(scorer, damaged(folder.parent, images[:3], 0, 1, 2), folder, QUARANTINE, most=3)
    assert (summary.rows, summary.quarantined) == (0, 3)
    assert picture(folder) == expected_picture(scorer, images, 3, rows=[])


@pytest.mark.parametrize("most", [0, 5])
def test_a_dry_run_says_what_would_be_done_and_writes_nothing(
    most: int, scorer: Scorer, images: Pixels, folder: Path
) -> None:
    pile = piles.write(folder.with_name("pile.npy"), images[:30])
    with open_images(pile) as source:
        found = score(scorer, source, open_target(folder), Options(limit=17), most=most, dry_run=True)
    assert found == Plan(str(folder), str(pile), 17, limit=17, parts=1, finished_parts=0)
    assert names_in(folder.parent) == ["pile.npy"]


def test_it_loads_no_pandas_and_without_a_picture_no_pillow(scorer: Scorer, pile: Path, folder: Path) -> None:
    script = (
        "import sys; from pipeline.cli import app\n"
        f"app(['score', '{pile}', '-o', '{folder}', '--scorer', '{scorer.path}', '-q'], standalone_mode=False)\n"
        "loaded = {'pandas', 'tensorflow', 'keras', 'onnx', 'PIL', 'scipy', 'matplotlib'} & set(sys.modules)\n"
        "assert not loaded, loaded"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert pq.read_metadata(folder / "part-00000.parquet").num_rows == 1000


# The strangest


def picture(output: Path) -> list[list[int]]:
    with Image.open(f"{output}.png") as image:
        pixels: list[list[int]] = np.asarray(image).tolist()
    return pixels


def expected_picture(
    scorer: Scorer, images: Pixels, most: int, labels: list[int] | None = None, rows: list[int] | None = None
) -> list[list[int]]:
    """Of the good rows of a pile, sorted as a whole."""
    index = np.arange(len(images)) if rows is None else np.array(rows, np.int64)
    score = scorer(images[index]).score
    first = np.argsort(-score, kind="stable")[:most]
    index, score = index[first], score[first]
    bundle = scorer.path.parent.parent
    assert scorer.usual is not None
    kept = {
        "index": index,
        "label": np.full(len(index), -1) if labels is None else np.array(labels)[index],
        "score": score,
        "percentile": scorer.usual.percentile(score),
        "image": images[index],
    }
    decoded = Decoder(bundle / "decoder").pixels(Encoder(bundle / "encoder")(images[index])[0])
    sheet: list[list[int]] = draw_strangest(kept, decoded, ()).tolist()
    return sheet


@pytest.mark.parametrize("most", [1, 7, 1000])
@pytest.mark.usefixtures("in_small_parts")
def test_the_picture_shows_the_strangest_whichever_part_they_lie_in(
    most: int, scorer: Scorer, images: Pixels, folder: Path
) -> None:
    """Five parts, the largest number more than a part has."""
    labels = [row % 10 for row in range(1100)]
    pile = piles.write(folder.with_name("pile.npz"), images[:1100], labels)
    summary = run(scorer, pile, folder, most=most)
    assert (summary.parts, summary.picture) == (5, f"{folder}.png")
    assert picture(folder) == expected_picture(scorer, images[:1100], most, labels)
    strangest = np.argsort(-scorer(images[:1100]).score)[:7]
    assert len({row // small_parts.ROWS for row in strangest}) > 1


@pytest.mark.usefixtures("in_small_parts")
def test_more_than_there_are_is_all_of_them(scorer: Scorer, images: Pixels, folder: Path) -> None:
    run(scorer, piles.write(folder.with_name("pile.npy"), images[:300]), folder, most=1000)
    assert picture(folder) == expected_picture(scorer, images[:300], 300)


@pytest.mark.usefixtures("in_small_parts")
def test_of_equally_strange_images_the_first_are_shown(scorer: Scorer, images: Pixels, folder: Path) -> None:
    alike = np.repeat(images[:1], 600, axis=0)
    run(scorer, piles.write(folder.with_name("pile.npy"), alike), folder, most=4)
    assert picture(folder) == expected_picture(scorer, alike, 4, rows=[0, 1, 2, 3])


@pytest.mark.usefixtures("in_small_parts")
def test_a_limit_counts_for_the_picture_too(scorer: Scorer, images: Pixels, folder: Path) -> None:
    run(scorer, piles.write(folder.with_name("pile.npy"), images[:900]), folder, Options(limit=290), most=5)
    assert picture(folder) == expected_picture(scorer, images[:290], 5)


@dataclass
class Caption:
    """A text of a picture, and where it lies: from left to right, at a height."""

    text: str
    left: float
    right: float
    top: float


@pytest.fixture
def captions(monkeypatch: pytest.MonkeyPatch) -> list[Caption]:
    """Those of the pictures that are drawn from here on."""
    written: list[Caption] = []
    write = ImageDraw.ImageDraw.text

    def note(self: Any, place: tuple[float, float], text: str, *how: Any) -> None:
        left, _, right, _ = self.textbbox(place, text, font=how[-1])
        written.append(Caption(text, left, right, place[1]))
        write(self, place, text, *how)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", note)
    return written


def draw(classes: tuple[str, ...], **kept: list[float]) -> None:
    count = len(kept["index"])
    images = np.zeros((count, 28, 28), np.uint8)
    draw_strangest({**{name: np.array(values) for name, values in kept.items()}, "image": images}, images, classes)


def test_captions_say_row_class_score_and_percentile(captions: list[Caption]) -> None:
    draw(("cat", "dog"), index=[1_234_567, 8, 9], label=[0, -1, 7], score=[1234.56, 80, 3], percentile=[99.95, 99.5, 0])
    assert [caption.text for caption in captions] == [
        "The 3 strangest, and what the model makes of them",
        "row of the pile, class; score, percentile among held-out images",
        *("row 1,234,567, cat", "1,234.6, >99.9 %"),
        *("row 8", "80.0, 99.5 %"),
        *("row 9, 7", "3.0, 0.0 %"),
    ]


@pytest.mark.parametrize("name", ["a class of a very long name", "two\nlines", "Sh\udcffirt", "\u65e5\u672c\u8a9e", ""])
def test_captions_do_not_touch_each_other(name: str, captions: list[Caption]) -> None:
    rows = {"index": [9_876_543_210] * 12, "label": [0] * 12, "score": [98_765.0] * 12, "percentile": [99.99] * 12}
    draw((name,), **rows)
    for one, other in itertools.pairwise(sorted(captions[2:], key=lambda caption: (caption.top, caption.left))):
        assert "\n" not in one.text
        assert one.top != other.top or one.right < other.left
    assert all("9,876,543,210" in caption.text for caption in captions[2::2])
    assert {caption.text for caption in captions[3::2]} == {"98,765.0, >99.9 %"}


# Ended and gone on with


def interrupted(read: Callable[[int, int], Callable[[], Rows]], at: int) -> Callable[[int, int], Callable[[], Rows]]:
    """Ends the job at a row."""

    def stopping(start: int, stop: int) -> Callable[[], Rows]:
        if start >= at:
            raise KeyboardInterrupt
        return read(start, stop)

    return stopping


def interrupt(scorer: Scorer, pile: Path, output: Path, at: int, **what: Any) -> None:
    with pytest.raises(KeyboardInterrupt), open_images(pile) as source:
        source.read = interrupted(source.read, at)  # type: ignore[method-assign]
        score(scorer, source, open_target(output), Options(), **what)


@pytest.mark.parametrize("output", ["out", "x.npy", "x.npz"])
@pytest.mark.usefixtures("in_small_parts")
def test_a_job_that_is_interrupted_again_and_again_leaves_the_same_bytes(
    output: str, scorer: Scorer, images: Pixels, tmp_path: Path
) -> None:
    pile = piles.write(tmp_path / "pile.npz", images[:1100], [row % 10 for row in range(1100)])
    run(scorer, pile, tmp_path / "whole" / output, most=20, latents=True)
    for at in (300, 700, 900):
        interrupt(scorer, pile, tmp_path / "job" / output, at, most=20, latents=True)
    assert run(scorer, pile, tmp_path / "job" / output, most=20, latents=True).resumed_parts == 3
    assert bytes_of(tmp_path / "job") == bytes_of(tmp_path / "whole")


@pytest.mark.usefixtures("in_small_parts")
def test_a_part_that_is_not_what_it_was_is_made_again_and_the_picture_is_the_same(
    scorer: Scorer, images: Pixels, folder: Path
) -> None:
    pile = piles.write(folder.with_name("pile.npy"), images[:1100])
    interrupt(scorer, pile, folder, 900, most=20)
    work = folder.with_name(".out.partial")
    (work / "parts/part-00001.parquet").write_bytes(b"half")
    (work / "kept/part-00001.npz").write_bytes(b"half")
    assert run(scorer, pile, folder, most=20).resumed_parts == 2
    assert picture(folder) == expected_picture(scorer, images[:1100], 20)


@pytest.mark.parametrize(
    ("first", "then"), [({"most": 20}, {"most": 5}), ({}, {"most": 5}), ({"most": 5}, {}), ({}, {"latents": True})]
)
@pytest.mark.usefixtures("in_small_parts")
def test_another_picture_or_other_columns_start_over(
    first: dict[str, Any], then: dict[str, Any], scorer: Scorer, images: Pixels, folder: Path
) -> None:
    pile = piles.write(folder.with_name("pile.npy"), images[:1100])
    interrupt(scorer, pile, folder, 1000, **first)
    assert run(scorer, pile, folder, **then).resumed_parts == 0
    if then.get("most"):
        assert picture(folder) == expected_picture(scorer, images[:1100], 5)
    assert Path(f"{folder}.png").exists() == ("most" in then)


# What is refused


def test_a_scorer_that_does_not_say_what_is_usual(pile: Path, folder: Path, tmp_path: Path) -> None:
    model = onnx_models.scorer()
    del model.metadata_props[:]
    silent = Scorer(onnx_models.save(model, tmp_path / "silent"))
    with pytest.raises(ModelError) as refusal:
        run(silent, pile, folder)
    told = "does not say in its metadata what score is usual; run `vae export` again"
    assert str(refusal.value) == f"{silent.path} {told}"
    assert names_in(folder.parent) == []


@pytest.mark.parametrize(
    ("missing", "what", "refused"),
    [
        ("encoder", {}, False),
        ("encoder", {"latents": True}, True),
        ("encoder", {"most": 3}, True),
        ("decoder", {"latents": True}, False),
        ("decoder", {"most": 3}, True),
    ],
)
def test_halves_are_needed_beside_a_scorer_for_latents_and_the_picture_alone(
    missing: str, what: dict[str, Any], refused: bool, exports: Path, pile: Path, folder: Path, tmp_path: Path
) -> None:
    bundle = shutil.copytree(exports, tmp_path / "exports")
    shutil.rmtree(bundle / missing)
    scorer = Scorer(bundle / "scorer")
    if not refused:
        assert run(scorer, pile, folder, **what).rows == 1000
        return
    with pytest.raises(ModelError) as refusal:
        run(scorer, pile, folder, **what)
    assert str(refusal.value) == (
        f"{scorer.path} has no {missing} beside it, in {bundle / missing}; take that folder of its bundle too, or do "
        "without --latents and --most"
    )
    assert names_in(folder.parent) == []


def test_halves_are_found_from_within_the_folder_of_the_scorer(
    exports: Path, pile: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(exports / "scorer")
    assert run(Scorer("model.onnx"), pile, folder, most=3).picture == f"{folder}.png"


def test_halves_of_another_model_are_refused(exports: Path, pile: Path, folder: Path, tmp_path: Path) -> None:
    bundle = shutil.copytree(exports, tmp_path / "exports")
    for role, model, digest in (
        ("scorer", onnx_models.scorer(), "a" * 64),
        ("encoder", onnx_models.encoder(), "b" * 64),
    ):
        model.metadata_props.add(key="params_sha256", value=digest)
        shutil.rmtree(bundle / role)
        onnx_models.save(model, bundle / role)
    with pytest.raises(ModelError, match="are of two models: their params_sha256 is aaaaaaaaaaaa and bbbbbbbbbbbb"):
        run(Scorer(bundle / "scorer"), pile, folder, latents=True)
    assert names_in(folder.parent) == []


@pytest.mark.parametrize("most", [0, 3])
def test_what_is_there_and_no_earlier_result_stays(most: int, scorer: Scorer, pile: Path, folder: Path) -> None:
    Path(f"{folder}.png").write_bytes(b"mine")
    if most:
        with pytest.raises(OutputError, match=r"out\.png is there, and not from an earlier run; choose another output"):
            run(scorer, pile, folder, most=most)
    else:
        run(scorer, pile, folder)
    assert Path(f"{folder}.png").read_bytes() == b"mine"
