"""Files as other people's programs write them give the same pixels and labels as an `.npy` of the same images.

One row of a table for each kind: the next is a line.
"""

import csv
import gzip
import io
import json
import os
import pickle
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from pipeline.errors import DataError
from pipeline.sources.images import ImageSource, Pixels, open_images
from tests.sources.piles import bad_of, column, labels_of, pixels_of, png, read_all, tar

RNG = np.random.default_rng(3)
IMAGES: Pixels = RNG.integers(0, 256, (30, 28, 28), dtype=np.uint8)
IMAGES[:, 0, :2] = 0, 255  # each has the whole range
LABELS = [row % 10 for row in range(30)]
FLAT = IMAGES.reshape(30, 784)
WORDS = ["cat", "dog", "eel"]
NAMED = [WORDS[row % 3] for row in range(30)]
SAME: list[int] = [row % 3 for row in range(30)]
DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
INK = (IMAGES > 127).astype(np.uint8) * np.uint8(255)


@dataclass(frozen=True)
class Case:
    """A file or folder that someone has."""

    make: Callable[[Path], Any]
    """Writes it at the path, or returns another path."""
    name: str = "pile"
    choices: dict[str, Any] = field(default_factory=dict)
    labels: Sequence[int] | None = None
    classes: Sequence[str] = ()
    images: Pixels = field(default_factory=lambda: IMAGES)


def idx(code: int, array: Any) -> bytes:
    return bytes([0, 0, code, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def table(**columns: Any) -> pa.Table:
    return pa.table(columns)


def lines(header: Sequence[str] | None, rows: Sequence[Sequence[Any]], delimiter: str = ",") -> str:
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator="\n").writerows([*([header] if header else []), *rows])
    return text.getvalue()


def stream(path: Path, rows: pa.Table) -> None:
    with pa.ipc.new_stream(path, rows.schema) as writer:
        writer.write_table(rows, max_chunksize=7)


def class_label(rows: pa.Table, names: Sequence[str]) -> pa.Table:
    about = {"info": {"features": {"label": {"names": list(names), "_type": "ClassLabel"}}}}
    return rows.replace_schema_metadata({"huggingface": json.dumps(about)})


def save_to_disk(path: Path) -> None:
    """As `datasets.Dataset.save_to_disk` does."""
    path.mkdir()
    pictures = pa.array([{"bytes": png(image), "path": None} for image in IMAGES])
    rows = class_label(table(image=pictures, label=SAME), WORDS)
    stream(path / "data-00000-of-00002.arrow", rows.slice(0, 20))
    stream(path / "data-00001-of-00002.arrow", rows.slice(20))
    for name in ("dataset_info.json", "state.json"):
        (path / name).write_text("{}")


def folders(path: Path, names: Sequence[str], kind: str = "PNG", suffix: str = "png") -> None:
    for row, name in sorted(enumerate(names), key=lambda pair: pair[1]):
        (path / name).mkdir(parents=True, exist_ok=True)
        (path / name / f"{row:03d}.{suffix}").write_bytes(png(IMAGES[row], kind))


def by_folder(names: Sequence[str]) -> Pixels:
    return IMAGES[sorted(range(30), key=lambda row: (names[row], row))]


def hive(path: Path) -> None:
    for part in range(3):
        (path / f"part={part}").mkdir(parents=True)
        some = slice(part * 10, part * 10 + 10)
        pq.write_table(table(image=column("binary", IMAGES[some]), label=LABELS[some]), path / f"part={part}/x.parquet")


def zipped(path: Path, members: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


NUMBERED = [str(place) for place in range(784)]
PIXEL_NAMES = [f"pixel{place}" for place in range(784)]
KAGGLE = [[label, *pixels] for label, pixels in zip(LABELS, FLAT.tolist(), strict=True)]
HALF = IMAGES.astype(np.float32) / 255

CASES: dict[str, Case] = {
    # NumPy
    "Keras' mnist.npz": Case(
        lambda p: np.savez(p, x_train=IMAGES[:5], y_train=LABELS[:5], x_test=IMAGES, y_test=np.array(LABELS)),
        "mnist.npz",
        {"array": "x_test"},
        LABELS,
    ),
    "arr_0 and arr_1": Case(lambda p: np.savez(p, IMAGES, np.array(LABELS)), "pile.npz", {}, LABELS),
    "X and y": Case(lambda p: np.savez(p, X=FLAT, y=np.array(LABELS, str)), "pile.npz", {}, LABELS),
    "image and label": Case(lambda p: np.savez(p, image=IMAGES, label=np.int16(LABELS)), "pile.npz", {}, LABELS),
    "MedMNIST": Case(
        lambda p: np.savez(p, train_images=IMAGES, train_labels=np.uint8(LABELS)[:, None]), "m.npz", {}, LABELS
    ),
    "our own result": Case(
        lambda p: np.savez(p, index=np.arange(30), label=np.int16([-1, *LABELS[1:]]), z=HALF[:, 0, :2], image=IMAGES),
        "pile.npz",
        {},
        [-1, *LABELS[1:]],
    ),
    "labels under another name": Case(
        lambda p: np.savez(p, a=IMAGES, b=np.float64(LABELS), c=np.zeros(30)), "p.npz", {"labels_from": "b"}, LABELS
    ),
    "pickled objects beside images": Case(
        lambda p: np.savez(p, x=IMAGES, y=LABELS, about=np.array({"made": "by me"}, object)), "x.npz", {}, LABELS
    ),
    **{
        f"{name} of images are no labels": Case(
            lambda p, name=name, of=of: np.savez(p, x=IMAGES, **{name: of}), "x.npz"
        )
        for name, of in (("ids", np.arange(30)), ("weights", HALF[:, 0, 0]), ("filenames", np.array(NAMED)))
    },
    "labels in one file of two": Case(
        lambda p: [p.mkdir(), np.savez(p / "a", x=IMAGES[:9]), np.savez(p / "b", x=IMAGES[9:], y=LABELS[9:])],
        "pile",
        {},
        [-1] * 9 + LABELS[9:],
    ),
    "words that are numbers": Case(
        lambda p: np.savez(p, x=IMAGES, y=np.float64(LABELS).astype(str)), "x.npz", {}, LABELS
    ),
    "words in an .npz": Case(lambda p: np.savez(p, x=IMAGES, y=NAMED), "pile.npz", {}, SAME, WORDS),
    "bool": Case(lambda p: np.save(p, INK > 0), "pile.npy", images=INK),
    "int64": Case(lambda p: np.save(p, IMAGES.astype(np.int64)), "pile.npy"),
    "uint16": Case(lambda p: np.save(p, IMAGES.astype(np.uint16) * 257), "p.npy", {"value_range": (0, 65535)}),
    "float32 in [0, 1]": Case(lambda p: np.save(p, HALF), "pile.npy"),
    "float64 in [0, 1]": Case(lambda p: np.save(p, IMAGES / 255), "pile.npy"),
    "float16 in [0, 1]": Case(lambda p: np.save(p, HALF.astype(np.float16)), "pile.npy"),
    "float32 to 255": Case(lambda p: np.save(p, IMAGES.astype(np.float32)), "pile.npy"),
    "float32 in [-1, 1]": Case(lambda p: np.save(p, HALF * 2 - 1), "pile.npy", {"value_range": (-1, 1)}),
    "0 and 1 as bytes": Case(lambda p: np.save(p, INK // 255), "p.npy", {"value_range": (0, 1)}, images=INK),
    "[n, 784]": Case(lambda p: np.save(p, FLAT), "pile.npy"),
    "[n, 1, 28, 28]": Case(lambda p: np.save(p, IMAGES[:, None]), "pile.npy"),
    "[n, 3, 28, 28]": Case(lambda p: np.save(p, IMAGES[:, None].repeat(3, 1)), "pile.npy"),
    "[n, 28, 28, 1]": Case(lambda p: np.save(p, IMAGES[..., None]), "pile.npy"),
    "[28, 28]": Case(lambda p: np.save(p, IMAGES[0]), "pile.npy", images=IMAGES[:1]),
    "[28, 28, 3]": Case(lambda p: np.save(p, IMAGES[0][..., None].repeat(3, 2)), "p.npy", images=IMAGES[:1]),
    "[56, 56, 3], resized": Case(
        lambda p: np.save(p, np.kron(IMAGES[0], np.ones((2, 2), np.uint8))[..., None].repeat(3, 2)),
        "p.npy",
        {"resize": True},
        images=IMAGES[:1],
    ),
    "Fortran order": Case(lambda p: np.save(p, np.asfortranarray(IMAGES)), "pile.npy"),
    "Fortran order, [n, 784]": Case(lambda p: np.save(p, np.asfortranarray(HALF.reshape(30, 784))), "pile.npy"),
    "Fortran order, in an .npz": Case(lambda p: np.savez_compressed(p, np.asfortranarray(IMAGES)), "pile.npz"),
    "big-endian": Case(lambda p: np.save(p, IMAGES.astype(">f4") / 255), "pile.npy"),
    ".npy.gz": Case(lambda p: p.write_bytes(gzip.compress(saved(IMAGES))), "pile.npy.gz"),
    "a folder of arrays": Case(lambda p: [p.mkdir(), np.save(p / "a", HALF[:9]), np.save(p / "b", HALF[9:])]),
    "without a name": Case(lambda p: p.write_bytes(saved(IMAGES)), "pile"),
    # IDX
    "IDX of float32": Case(lambda p: p.write_bytes(idx(0x0D, HALF.astype(">f4"))), "pile.idx"),
    "a pattern of IDX": Case(
        lambda p: (
            [p.mkdir(), *[(p / f"{n}-images-idx3-ubyte").write_bytes(idx(8, IMAGES[n * 15 :][:15])) for n in (0, 1)]]
            and p / "*-images-idx3-ubyte"
        ),
    ),
    # CSV
    "Kaggle's train.csv": Case(lambda p: p.write_text(lines(["label", *PIXEL_NAMES], KAGGLE)), "train.csv", {}, LABELS),
    "Kaggle's test.csv": Case(lambda p: p.write_text(lines(PIXEL_NAMES, FLAT.tolist())), "test.csv"),
    "mnist_train.csv without header": Case(lambda p: p.write_text(lines(None, KAGGLE)), "mnist.csv", {}, LABELS),
    "784 numbers and nothing else": Case(lambda p: p.write_text(lines(None, FLAT.tolist())), "x.csv"),
    "1x1 to 28x28": Case(
        lambda p: p.write_text(lines(["label", *[f"{y}x{x}" for y in range(1, 29) for x in range(1, 29)]], KAGGLE)),
        "x.csv",
        {},
        LABELS,
    ),
    "OpenML, class last, semicolons": Case(
        lambda p: p.write_text(lines([*PIXEL_NAMES, "class"], [[*row[1:], row[0]] for row in KAGGLE], ";")),
        "x.csv",
        {},
        LABELS,
    ),
    "a CSV of shares": Case(lambda p: p.write_text(lines(None, (FLAT / 255).round(4).tolist())), "x.csv"),
    "a CSV of words": Case(
        lambda p: p.write_text(
            lines(["name", *PIXEL_NAMES], [[n, *f] for n, f in zip(NAMED, FLAT.tolist(), strict=True)])
        ),
        "x.csv",
        {},
        SAME,
        WORDS,
    ),
    "Windows' CSV, blank lines at the end": Case(
        lambda p: p.write_bytes(
            b"\xef\xbb\xbf" + lines(["label", *PIXEL_NAMES], KAGGLE).replace("\n", "\r\n").encode() + b"\r\n\r\n"
        ),
        "x.csv",
        {},
        LABELS,
    ),
    **{
        f"CSV of pandas: {kind}": Case(
            lambda p, names=names, rows=rows: p.write_text(lines(names, rows)), "x.csv", {}, labels
        )
        for kind, names, rows, labels in (
            ("numbered", NUMBERED, FLAT.tolist(), None),
            ("numbered after an index", ["", *NUMBERED], [[n, *row] for n, row in enumerate(FLAT.tolist())], None),
            ("label and numbered", ["label", *NUMBERED], KAGGLE, LABELS),
            ("all numbered", [*NUMBERED, "784"], KAGGLE, LABELS),
            ("an index is no label", ["Unnamed: 0", *PIXEL_NAMES], KAGGLE, None),
            ("an id is no label", ["id", *PIXEL_NAMES], KAGGLE, None),
            ("sorted as text", sorted(PIXEL_NAMES), FLAT[:, np.argsort(PIXEL_NAMES)].tolist(), None),
            ("labels as floats", ["label", *PIXEL_NAMES], [[f"{row[0]}.0", *row[1:]] for row in KAGGLE], LABELS),
            (
                "labels, some none",
                ["label", *PIXEL_NAMES],
                [[none, *KAGGLE[n][1:]] for n, none in enumerate(["-1", "", "nan"])] + KAGGLE[3:],
                [-1, -1, -1, *LABELS[3:]],
            ),
        )
    },
    "a late word among labels": Case(
        lambda p: p.write_text(lines(["label", *PIXEL_NAMES], [*KAGGLE[:-1], ["a", *KAGGLE[-1][1:]]])),
        "x.csv",
        {},
        [*LABELS[:-1], 10],
        [*map(str, range(10)), "a"],
    ),
    **{
        f"a comma at the end of each line: {kind}": Case(
            lambda p, names=names, rows=rows: p.write_text(lines(names and [*names, ""], [[*row, ""] for row in rows])),
            "x.csv",
            {},
            labels,
        )
        for kind, names, rows, labels in (
            ("header and label", ["label", *PIXEL_NAMES], KAGGLE, LABELS),
            ("header", PIXEL_NAMES, FLAT.tolist(), None),
            ("label", None, KAGGLE, LABELS),
            ("neither", None, FLAT.tolist(), None),
        )
    },
    "quotes everywhere": Case(
        lambda p: p.write_text("".join(",".join(f'"{one}"' for one in row) + "\n" for row in KAGGLE)), "x", {}, LABELS
    ),
    "NumPy's savetxt": Case(lambda p: np.savetxt(p, FLAT), "x.csv"),
    "NumPy's savetxt, with the label": Case(lambda p: np.savetxt(p, KAGGLE, delimiter=","), "x.csv", {}, LABELS),
    "the label last, without a header": Case(
        lambda p: p.write_text(lines(None, [[*row[1:], row[0]] for row in KAGGLE])),
        "x.csv",
        {"labels_from": "784"},
        LABELS,
    ),
    "shares of 0.0 and 1.0": Case(
        lambda p: p.write_text(lines(None, (INK.reshape(30, 784) / 255).tolist())), "x.csv", images=INK
    ),
    ".tsv": Case(lambda p: p.write_text(lines(["label", *PIXEL_NAMES], KAGGLE, "\t")), "x.tsv", {}, LABELS),
    "semicolons without a name": Case(
        lambda p: p.write_text(lines(["label", *PIXEL_NAMES], KAGGLE, ";")), "x", {}, LABELS
    ),
    "a blank line and a mark before the lines": Case(
        lambda p: p.write_text("\ufeff\n" + lines(None, KAGGLE)), "x.csv", {}, LABELS
    ),
    ".csv.gz": Case(lambda p: p.write_bytes(gzip.compress(lines(None, KAGGLE).encode())), "x.csv.gz", {}, LABELS),
    # Parquet and Arrow
    "785 numbered columns": Case(
        lambda p: pq.write_table(pa.table({str(n): column for n, column in enumerate(zip(*KAGGLE, strict=True))}), p),
        "x.parquet",
        {},
        LABELS,
    ),
    "names of classes, and words": Case(
        lambda p: pq.write_table(class_label(table(image=column("struct", IMAGES), label=NAMED), WORDS), p),
        "x.parquet",
        {},
        SAME,
        WORDS,
    ),
    "no label but null": Case(
        lambda p: pq.write_table(table(image=column("binary", IMAGES), label=pa.nulls(30)), p), "x.parquet"
    ),
    "a dictionary of numbers": Case(
        lambda p: pyarrow.feather.write_feather(
            table(image=column("binary", IMAGES), label=pa.array(np.float64(LABELS)).dictionary_encode()), str(p)
        ),
        "x.feather",
        {},
        LABELS,
    ),
    "0 and 1 in bytes": Case(
        lambda p: pq.write_table(table(image=column("binary", INK // 255)), p),
        "x.parquet",
        {"value_range": (0, 1)},
        images=INK,
    ),
    "an Arrow stream without a name": Case(lambda p: stream(p, table(image=column("list", IMAGES))), "x"),
    "an Arrow file without a name": Case(
        lambda p: pyarrow.feather.write_feather(table(image=column("list", IMAGES)), str(p)), "x"
    ),
    "columns sorted as text": Case(
        lambda p: pq.write_table(pa.table({name: FLAT[:, PIXEL_NAMES.index(name)] for name in sorted(PIXEL_NAMES)}), p),
        "x.parquet",
    ),
    "784 columns": Case(
        lambda p: pq.write_table(
            pa.table([pa.array(LABELS), *map(pa.array, FLAT.T)], ["label", *PIXEL_NAMES]), p, row_group_size=7
        ),
        "x.parquet",
        {},
        LABELS,
    ),
    **{
        f"the column {name}": Case(
            lambda p, name=name: pq.write_table(table(image=column("binary", IMAGES), **{name: LABELS}), p),
            "x.pq",
            {},
            LABELS,
        )
        for name in ("labels", "class", "target", "digit", "Label", "y")
    },
    "another column of labels": Case(
        lambda p: pq.write_table(table(image=column("binary", IMAGES), kind=LABELS), p),
        "x.parquet",
        {"labels_from": "kind"},
        LABELS,
    ),
    "another column of images": Case(
        lambda p: pq.write_table(table(a=column("binary", IMAGES), b=column("list", IMAGES)), p),
        "x.parquet",
        {"array": "b"},
    ),
    "categories": Case(
        lambda p: pq.write_table(table(image=column("binary", IMAGES), label=pa.array(NAMED).dictionary_encode()), p),
        "x.parquet",
        {},
        SAME,
        WORDS,
    ),
    "ClassLabel": Case(
        lambda p: pq.write_table(class_label(table(image=column("struct", IMAGES), label=SAME), WORDS), p),
        "x.parquet",
        {},
        SAME,
        WORDS,
    ),
    "words for digits": Case(
        lambda p: pq.write_table(table(image=column("encoded", IMAGES), label=[DIGITS[one] for one in LABELS]), p),
        "x.parquet",
        {},
        LABELS,
    ),
    "float lists": Case(
        lambda p: pq.write_table(table(image=pa.array((FLAT / 255).tolist(), pa.list_(pa.float32()))), p), "x.parquet"
    ),
    "bool lists": Case(
        lambda p: pq.write_table(table(image=(INK > 0).reshape(30, 784).tolist()), p), "x.pq", images=INK
    ),
    "Array3D": Case(lambda p: pq.write_table(table(image=IMAGES[:, None].tolist()), p), "x.parquet"),
    "Array3D, channels last": Case(lambda p: pq.write_table(table(image=IMAGES[..., None].tolist()), p), "x.parquet"),
    "a dictionary of images": Case(
        lambda p: pyarrow.feather.write_feather(table(image=column("variable", IMAGES).dictionary_encode()), str(p)),
        "x.feather",
    ),
    "views": Case(
        lambda p: pyarrow.feather.write_feather(
            table(image=column("variable", IMAGES).cast(pa.binary_view()), label=pa.array(NAMED, pa.string_view())),
            str(p),
        ),
        "x.arrow",
        {},
        SAME,
        WORDS,
    ),
    "an Arrow stream": Case(
        lambda p: stream(p, table(image=column("list", IMAGES), label=LABELS)), "x.arrow", {}, LABELS
    ),
    "Hugging Face's save_to_disk": Case(save_to_disk, "set", {}, SAME, WORDS),
    "hive folders of Parquet": Case(hive, "set", {}, LABELS),
    "Parquet without a name": Case(lambda p: pq.write_table(table(image=column("binary", IMAGES)), p), "pile"),
    # Pictures
    **{
        f"{kind} pictures": Case(lambda p, k=kind, s=suffix: folders(p, [""] * 30, k, s), "pile")
        for kind, suffix in (("BMP", "bmp"), ("TIFF", "tif"), ("GIF", "gif"), ("PNG", "PNG"))
    },
    "16-bit PNG": Case(
        lambda p: [
            p.mkdir(),
            *[(p / f"{n:02d}.png").write_bytes(png(one)) for n, one in enumerate(IMAGES.astype(np.uint16) * 257)],
        ],
        "pile",
    ),
    "transposed": Case(lambda p: np.save(p, IMAGES.swapaxes(1, 2)), "pile.npy", {"transpose": True}),
    "dark ink": Case(lambda p: np.save(p, 255 - IMAGES), "pile.npy", {"invert": True}),
    "dark ink, pictures": Case(
        lambda p: [p.mkdir(), *[(p / f"{n:02d}.png").write_bytes(png(255 - one)) for n, one in enumerate(IMAGES)]],
        "pile",
        {"invert": True},
    ),
    "folders label=3": Case(
        lambda p: folders(p, [f"label={n}" for n in LABELS]),
        "pile",
        {},
        sorted(LABELS),
        images=by_folder([str(n) for n in LABELS]),
    ),
    "folders digit_3": Case(
        lambda p: folders(p, [f"digit_{n}" for n in LABELS]),
        "pile",
        {},
        sorted(LABELS),
        images=by_folder([str(n) for n in LABELS]),
    ),
    "folders three": Case(
        lambda p: folders(p, [DIGITS[n] for n in LABELS]),
        "pile",
        {},
        sorted(LABELS, key=lambda n: DIGITS[n]),
        images=by_folder([DIGITS[n] for n in LABELS]),
    ),
    "folders of classes": Case(
        lambda p: folders(p, NAMED), "pile", {"labels_from": "folder"}, sorted(SAME), WORDS, by_folder(NAMED)
    ),
    # Archives
    "a zip of folders": Case(
        lambda p: zipped(p, {f"mnist/{NAMED[n]}/{n:03d}.png": png(IMAGES[n]) for n in range(30)}),
        "x.zip",
        {"labels_from": "folder"},
        sorted(SAME),
        WORDS,
        by_folder(NAMED),
    ),
    "a tar of folders": Case(
        lambda p: p.write_bytes(tar({f"mnist/{LABELS[n]}/{n:03d}.png": png(IMAGES[n]) for n in range(30)})),
        "x.tar",
        {},
        LABELS,
    ),
    "keys with dots": Case(
        lambda p: p.write_bytes(tar({f"a.v{n:03d}.png": png(IMAGES[n]) for n in range(30)})), "x.tar"
    ),
    "shards by braces": Case(
        lambda p: (
            [
                p.mkdir(),
                *[
                    (p / f"s-{n:03d}.tar").write_bytes(tar({f"{k}.png": png(IMAGES[n * 10 + k]) for k in range(10)}))
                    for n in range(3)
                ],
            ]
            and p / "s-{000..002}.tar"
        ),
    ),
    "a tar without a name": Case(
        lambda p: p.write_bytes(tar({f"{n:02d}.png": png(IMAGES[n]) for n in range(30)})), "x"
    ),
}


def saved(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def opened(case: Case, folder: Path) -> ImageSource:
    path = folder / case.name
    other = case.make(path)
    return open_images(other if isinstance(other, Path) else path, **case.choices)


@pytest.mark.parametrize("name", CASES)
def test_it_gives_the_same_pixels_and_labels(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    with opened(case, tmp_path) as source:
        stretches = read_all(source, 7)
        assert bad_of(stretches) == {}
        assert np.array_equal(pixels_of(stretches), case.images)
        found = labels_of(stretches)
        assert (None if set(found or [-1]) == {-1} else found) == (None if case.labels is None else list(case.labels))
        assert source.classes == tuple(case.classes)
        assert bool(source.labels_from) >= (case.labels is not None)
        assert source.passed_over == {}


QMNIST = np.zeros((30, 8), ">i4")
QMNIST[:, 0] = LABELS
ONE_A_LINE = "".join(f"{label}\n" for label in LABELS)
LABEL_FILES: dict[str, tuple[Callable[[Path], Any], Sequence[int], Sequence[str]]] = {
    "l.npy": (lambda p: np.save(p, np.array(LABELS)), LABELS, ()),
    "words.npy": (lambda p: np.save(p, NAMED), SAME, WORDS),
    "bytes.npy": (lambda p: np.save(p, np.array(NAMED, "S")), SAME, WORDS),
    "floats.npy": (lambda p: np.save(p, np.float64(LABELS)), LABELS, ()),
    "column.npy": (lambda p: np.save(p, np.array(LABELS)[:, None]), LABELS, ()),
    "l.npz": (lambda p: np.savez(p, names=np.array(["a"]), labels=LABELS), LABELS, ()),
    "qmnist-idx2-int.gz": (lambda p: p.write_bytes(gzip.compress(idx(0x0C, QMNIST))), LABELS, ()),
    "l.csv": (lambda p: p.write_text("file,label\n" + "".join(f"{n}.png,{n % 10}\n" for n in range(30))), LABELS, ()),
    "bare.csv": (lambda p: p.write_text("".join(f"{name}\n" for name in NAMED)), SAME, WORDS),
    "l.csv.gz": (lambda p: p.write_bytes(gzip.compress(("label\n" + ONE_A_LINE).encode())), LABELS, ()),
    "mark.csv": (lambda p: p.write_text("\ufefflabel\n" + ONE_A_LINE), LABELS, ()),
    "unknown.csv": (lambda p: p.write_text("number of the class\n" + ONE_A_LINE), LABELS, ()),
    "index.csv": (lambda p: p.write_text(",0\n" + "".join(f"{n},{n % 10}\n" for n in range(30))), LABELS, ()),
    "semicolons.csv": (
        lambda p: p.write_text("id;kind\n" + "".join(f"a{n};{n % 10}\n" for n in range(30))),
        LABELS,
        (),
    ),
    "tabs.tsv": (lambda p: p.write_text("id\tlabel\n" + "".join(f"a\t{n % 10}\n" for n in range(30))), LABELS, ()),
    "some.csv": (lambda p: p.write_text("label\n\n\n" + ONE_A_LINE[4:] + "\n"), [-1, -1, *LABELS[2:]], ()),
    "savetxt.txt": (lambda p: np.savetxt(p, LABELS), LABELS, ()),
    "labels": (lambda p: p.write_text(ONE_A_LINE), LABELS, ()),
    "two.npz": (lambda p: np.savez(p, ids=np.arange(30), kinds=np.array(LABELS)[:, None]), LABELS, ()),
    "pickled.npz": (lambda p: np.savez(p, y=LABELS, about=np.array({}, object)), LABELS, ()),
    "classes.parquet": (lambda p: pq.write_table(class_label(table(label=SAME), WORDS), p), SAME, WORDS),
    "l.parq": (lambda p: pq.write_table(table(label=pa.array(NAMED).dictionary_encode()), p), SAME, WORDS),
    "l.arrow": (lambda p: stream(p, table(label=LABELS)), LABELS, ()),
    "nameless": (lambda p: pq.write_table(table(label=LABELS), p), LABELS, ()),
    "l.parquet": (lambda p: pq.write_table(table(name=["x"] * 30, target=NAMED), p), SAME, WORDS),
}


@pytest.mark.parametrize("name", LABEL_FILES)
def test_labels_lie_in_a_file_of_any_kind(name: str, tmp_path: Path) -> None:
    make, labels, classes = LABEL_FILES[name]
    np.save(tmp_path / "pile.npy", IMAGES)
    make(tmp_path / name)
    with open_images(tmp_path / "pile.npy", tmp_path / name) as source:
        assert labels_of(read_all(source, 7)) == labels
        assert source.classes == tuple(classes)
        assert source.labels_from == str(tmp_path / name)


LABEL_REFUSALS: dict[str, tuple[Callable[[Path], Any], str | None, str]] = {
    "l.npy": (lambda p: np.save(p, LABELS), "y", "holds one array, without a name; leave --labels-from out"),
    "l.npz": (lambda p: np.savez(p, a=LABELS, labels=LABELS), "b", "no array 'b' for --labels-from; it holds a int64"),
    "two.npz": (lambda p: np.savez(p, a=LABELS, b=LABELS), None, "one array of labels; --labels-from names it"),
    "l.csv": (lambda p: p.write_text("label\n" + ONE_A_LINE), "y", "no column 'y' for --labels-from; it has label"),
    "two.csv": (lambda p: p.write_text("a,3\n" * 30), None, "has the columns 0, 1; --labels-from names that of labels"),
    "broken.csv": (lambda p: p.write_text("id,label\n1,3\n4\n"), None, "line 3 has 1 fields, expected 2"),
    "none.csv": (lambda p: p.write_text("label\n" + ONE_A_LINE), "none", "--labels-from none rules them out"),
    "empty.csv": (lambda p: p.write_text(""), None, "holds no line; expected a label for each image"),
    "l.json": (lambda p: p.write_text(json.dumps(LABELS)), None, "no file of labels; expected labels as IDX"),
    "l.parquet": (lambda p: pq.write_table(table(label=[[1]] * 30), p), None, "labels of type list.* in column label"),
}


@pytest.mark.parametrize("name", LABEL_REFUSALS)
def test_what_is_no_file_of_labels_is_named(name: str, tmp_path: Path) -> None:
    make, labels_from, message = LABEL_REFUSALS[name]
    np.save(tmp_path / "pile.npy", IMAGES)
    make(tmp_path / name)
    with pytest.raises(DataError, match=message):
        open_images(tmp_path / "pile.npy", tmp_path / name, labels_from=labels_from)


def test_the_column_of_labels_is_part_of_the_state(tmp_path: Path) -> None:
    np.save(tmp_path / "pile.npy", IMAGES)
    (tmp_path / "l.csv").write_text("a,b\n" + "".join(f"{n % 10},{n % 3}\n" for n in range(30)))
    one, other = (open_images(tmp_path / "pile.npy", tmp_path / "l.csv", labels_from=name) for name in "ab")
    assert one.state() != other.state()


def test_a_bad_label_is_named_by_its_file(tmp_path: Path) -> None:
    np.save(tmp_path / "pile.npy", IMAGES)
    np.save(tmp_path / "l.npy", [300, *LABELS[1:]])
    stretches = read_all(open_images(tmp_path / "pile.npy", tmp_path / "l.npy"), 7)
    assert bad_of(stretches) == {0: "l.npy row 0 has the label 300, expected 0 to 255"}


def test_stdin_is_read_once_and_called_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
    with pytest.raises(DataError, match="stdin is empty; expected an IDX"):
        open_images("-")
    with pytest.raises(DataError, match="stdin was read already; only one of images and labels can be -"):
        open_images("-")


def test_a_pipe_is_sent_to_no_other_process(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with ThreadPoolExecutor(1) as writer:
        writer.submit((tmp_path / "pipe").write_bytes, saved(IMAGES))
        source = open_images(tmp_path / "pipe")
    with pytest.raises(DataError, match="can be read once, and here alone; save it to a file first"):
        pickle.dumps(source)


@pytest.mark.parametrize("name", ["x.npy", "x.npz", "x.csv", "x.arrow", "x.parquet", "x.tar", "x.png", "x.tar.gz"])
@pytest.mark.parametrize("given", ["-", "/dev/stdin"])
def test_a_pile_comes_through_a_pipe(given: str, name: str, tmp_path: Path) -> None:
    members = tar({f"{n}.png": png(IMAGES[n]) for n in range(9)})
    contents = {
        "x.npy": lambda p: np.save(p, HALF[:9]),
        "x.npz": lambda p: np.savez_compressed(p, x=IMAGES[:9], y=LABELS[:9]),
        "x.csv": lambda p: p.write_text(lines(None, KAGGLE[:9])),
        "x.parquet": lambda p: pq.write_table(table(image=column("list", IMAGES[:9])), p),
        "x.arrow": lambda p: stream(p, table(image=column("list", IMAGES[:9]))),
        "x.tar": lambda p: p.write_bytes(members),
        "x.tar.gz": lambda p: p.write_bytes(gzip.compress(members)),
        "x.png": lambda p: p.write_bytes(png(IMAGES[0])),
    }
    contents[name](tmp_path / name)
    code = (
        "import sys, numpy as np; from pipeline.sources.images import open_images;"
        "source = open_images(sys.argv[1]); state = source.state(); rows = source.read(0, source.count or 20)();"
        "np.save(sys.argv[2], rows.images); assert state == source.state()"
    )
    command = [sys.executable, "-c", code, given, str(tmp_path / "out.npy")]
    subprocess.run(command, input=(tmp_path / name).read_bytes(), check=True)
    assert np.array_equal(np.load(tmp_path / "out.npy"), IMAGES[: 1 if name == "x.png" else 9])


REFUSALS: dict[str, tuple[Callable[[Path], Any], str, dict[str, Any], str]] = {
    "HDF5": (
        lambda p: p.write_bytes(b"\x89HDF\r\n\x1a\nxxxx"),
        "x.h5",
        {},
        r"x\.h5 is an HDF5 file .*: read it with h5py",
    ),
    "MATLAB": (lambda p: p.write_bytes(b"MATLAB 5.0 MAT-file"), "x.mat", {}, r"MATLAB file: read it with scipy\.io"),
    "a pickle": (lambda p: p.write_bytes(b"\x80\x04\x95"), "x.pkl", {}, "a pickle, which may run any code"),
    "TFRecord": (
        lambda p: p.write_bytes(b"\x12\0\0\0"),
        "x.tfrecord",
        {},
        "TensorFlow's TFRecord: read it with tf.data",
    ),
    "a web page": (lambda p: p.write_bytes(b"<!DOCTYPE html>"), "images", {}, "is a web page or XML"),
    "JSON": (lambda p: p.write_bytes(b'{"a": 1}'), "x.json", {}, "is JSON"),
    "bzip2": (lambda p: p.write_bytes(b"BZh91AY"), "x.bz2", {}, "unpack it with bunzip2"),
    "noise": (
        lambda p: p.write_bytes(b"\x01\x02\x03\x04"),
        "x.bin",
        {},
        "starts with .*, which is no known kind of file",
    ),
    "nothing": (lambda p: p.write_bytes(b""), "x.bin", {}, "is empty"),
    "values beyond 255": (
        lambda p: np.save(p, HALF * 65535),
        "x.npy",
        {},
        r"values from 0 to 65535, .* --range=0\.\.65535",
    ),
    "values around 0": (lambda p: np.save(p, HALF * 2 - 1), "x.npy", {}, r"values from -1 to 1, .* --range=-1\.\.1"),
    "scikit-learn's 0 to 16": (
        lambda p: np.save(p, HALF * 16),
        "x.npy",
        {},
        r"values from 0 to 16, .* --range=0\.\.16",
    ),
    "no number": (lambda p: np.save(p, HALF * np.nan), "x.npy", {}, "holds no number"),
    "complex": (lambda p: np.save(p, HALF * 1j), "x.npy", {}, r"holds complex64\[30, 28, 28\], expected images"),
    "two pairs": (
        lambda p: np.savez(p, x_train=IMAGES, x_test=IMAGES),
        "x.npz",
        {},
        r"several arrays of images: x_train uint8\[30, 28, 28\], x_test .*--array NAME",
    ),
    "no such array": (
        lambda p: np.savez(p, x=IMAGES),
        "x.npz",
        {"array": "y"},
        "no array 'y' for --array; it holds x uint8",
    ),
    "no such column": (
        lambda p: pq.write_table(table(image=column("binary", IMAGES)), p),
        "x.parquet",
        {"labels_from": "kind"},
        "no column 'kind' for --labels-from; it has image: fixed_size_binary",
    ),
    "900 columns": (
        lambda p: pq.write_table(pa.table([pa.array([0])] * 900, [f"a{n}" for n in range(900)]), p),
        "x.parquet",
        {},
        r"a0: int64, .*\.\.\. \(900 in all\); expected one column `image`",
    ),
    "CSV of another width": (
        lambda p: p.write_text(lines(None, [[1, 2, 3]])),
        "x.csv",
        {},
        "has 3 columns .*; expected 784",
    ),
    **{
        f"{option} that would be ignored: {file}": (make, file, choice, message)
        for option, choice in (("--array", {"array": "x"}), ("--labels-from", {"labels_from": "x"}))
        for file, make, message in (
            ("x.npy", lambda p: np.save(p, IMAGES), f"holds one array, without a name; leave {option} out"),
            ("x.idx", lambda p: p.write_bytes(idx(8, IMAGES)), f"holds one array, without a name; leave {option} out"),
            ("x.png", lambda p: p.write_bytes(png(IMAGES[0])), f"kind picture, for which {option} means nothing"),
        )
    },
    "--array of a CSV": (lambda p: p.write_text(lines(None, KAGGLE)), "x.csv", {"array": "x"}, "--array means nothing"),
    "--range of pictures": (
        lambda p: p.write_bytes(png(IMAGES[0])),
        "x.png",
        {"value_range": (0, 1)},
        "--range means nothing",
    ),
    "words as objects": (
        lambda p: np.savez(p, x=IMAGES, y=np.array(NAMED, object)),
        "x.npz",
        {},
        "pickled objects: for words, say dtype=str",
    ),
    "lists of labels": (
        lambda p: pq.write_table(table(image=column("binary", IMAGES), label=[[1]] * 30), p),
        "x.parquet",
        {},
        r"labels of type list<.*> in column label, expected whole numbers or words; --labels-from names another",
    ),
    "other classes in another file": (
        lambda p: [
            p.mkdir(),
            *[
                pq.write_table(
                    class_label(table(image=column("binary", IMAGES), label=SAME), names), p / f"{names[0]}.parquet"
                )
                for names in (WORDS, DIGITS)
            ],
        ],
        "x",
        {},
        "zero.parquet names other classes than the file before it",
    ),
    "rows of 8 x 8": (
        lambda p: np.save(p, FLAT[:, :64]),
        "x.npy",
        {"resize": True},
        r"one image or 30 of 8 x 8; save array\.reshape\(-1, 8, 8\)",
    ),
    "a CSV that may have its label last": (
        lambda p: p.write_text(lines(None, [[*row[1:], row[0]] for row in KAGGLE])),
        "x.csv",
        {},
        "the first is 0 in the first rows and the last is not: say which is the label: --labels-from 0 or .* 784",
    ),
    "UTF-16": (
        lambda p: p.write_text(lines(PIXEL_NAMES, FLAT.tolist()), "utf-16"),
        "x.csv",
        {},
        "is UTF-16; save it as UTF-8",
    ),
    "lines that end as on old Macs": (
        lambda p: p.write_text(lines(PIXEL_NAMES, FLAT.tolist()).replace("\n", "\r")),
        "x.csv",
        {},
        "is no text with line feeds",
    ),
    "Parquet named CSV": (
        lambda p: pq.write_table(table(image=column("binary", IMAGES)), p),
        "x.csv",
        {},
        "is no text with line feeds; expected CSV, or the suffix of what it is",
    ),
    "an endless line": (
        lambda p: p.write_bytes(b"1," * (1 << 20)),
        "x.csv",
        {},
        "has a line of 1,048,576 bytes or more",
    ),
    "an empty CSV": (lambda p: p.write_text("\n\n"), "x.csv", {}, "holds no line; expected 784 numbers a line"),
    "Kaggle's folder": (
        lambda p: [
            p.mkdir(),
            (p / "test.csv").write_text(lines(PIXEL_NAMES, FLAT.tolist())),
            (p / "train.csv").write_text(lines(["label", *PIXEL_NAMES], KAGGLE)),
        ],
        "x",
        {},
        r"x/train\.csv has other columns than .*x/test\.csv; choose with a pattern",
    ),
    "a CSV of bytes and one of shares": (
        lambda p: [
            p.mkdir(),
            (p / "a.csv").write_text(lines(None, (FLAT / 255).tolist())),
            (p / "b.csv").write_text(lines(None, FLAT.tolist())),
        ],
        "x",
        {},
        r"x/a\.csv holds values up to 1, .*x/b\.csv up to 255; expected one range in all files",
    ),
    "an array of bytes and one of shares": (
        lambda p: [p.mkdir(), np.save(p / "a", IMAGES), np.save(p / "b", HALF)],
        "x",
        {},
        r"x/b\.npy holds values up to 1, .*x/a\.npy up to 255; expected one range in all files",
    ),
    "a Parquet of bytes and one of shares": (
        lambda p: [
            p.mkdir(),
            pq.write_table(table(image=FLAT.tolist()), p / "a.parquet"),
            pq.write_table(table(image=(FLAT / 255).tolist()), p / "b.parquet"),
        ],
        "x",
        {},
        r"x/b\.parquet holds values up to 1, .*x/a\.parquet up to 255",
    ),
    "a missing shard": (
        lambda p: p.write_bytes(tar({"0.png": png(IMAGES[0])})) and p.parent / "{a,b}.tar",
        "a.tar",
        {},
        "b.tar was not found",
    ),
    "257 classes": (
        lambda p: pq.write_table(
            table(image=column("binary", np.resize(IMAGES, (300, 28, 28))), label=[f"c{n}" for n in range(300)]), p
        ),
        "x.parquet",
        {},
        "has 300 different labels, expected at most 256",
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_what_is_wrong_is_named_with_the_right_advice(name: str, tmp_path: Path) -> None:
    make, file, choices, message = REFUSALS[name]
    other = make(tmp_path / file)
    with pytest.raises(DataError, match=message) as caught:
        open_images(other if isinstance(other, Path) else tmp_path / file, **choices)
    assert len(str(caught.value)) < 1000
    assert "\n" not in str(caught.value)


def test_rows_with_values_outside_the_range_are_bad(tmp_path: Path) -> None:
    wrong = HALF.copy()
    wrong[3, 5, 5], wrong[8, 0, 0], wrong[9, 1, 1] = 1.5, np.nan, -0.1
    np.save(tmp_path / "x.npy", wrong)
    stretches = read_all(open_images(tmp_path / "x.npy", value_range=(0, 1)), 7)
    assert bad_of(stretches) == {
        row: f"x.npy row {row} holds a value outside 0 to 1, the range that --range sets, or none" for row in (3, 8, 9)
    }
    assert np.array_equal(pixels_of(stretches), np.delete(IMAGES, [3, 8, 9], axis=0))


def test_lines_of_a_csv_that_are_no_image_are_bad(tmp_path: Path) -> None:
    rows = [list(row) for row in KAGGLE[:6]]
    rows[1][7], rows[2], rows[3][9], rows[4][0] = "dark", rows[2][:-1], 300, 999
    (tmp_path / "x.csv").write_text(lines(None, rows))
    stretches = read_all(open_images(tmp_path / "x.csv"), 4)
    assert bad_of(stretches) == {
        1: "x.csv row 1 holds 'dark', expected a number",
        2: "x.csv row 2 has 784 fields, expected 785",
        3: "x.csv row 3 holds a value outside 0 to 255, the range that --range sets, or none",
        4: "x.csv row 4 has the label '999', expected a whole number from 0 to 255",
    }
    assert np.array_equal(pixels_of(stretches), IMAGES[[0, 5]])


def test_shares_after_whole_numbers_are_bad_and_named_by_their_file(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(lines(None, FLAT[:1].tolist()) * 4096)
    (tmp_path / "b.csv").write_text(lines(None, [FLAT[0].tolist(), *(FLAT[:2] / 255).tolist()]))
    with open_images(tmp_path / "*.csv") as source:
        assert bad_of([source.read(4095, 4099)()]) == {
            row: f"b.csv row {row - 4096} holds fractions up to 1, but the first rows whole numbers from 0 to 255; "
            "give all rows one range"
            for row in (4097, 4098)
        }


def test_a_label_among_numbers_that_is_too_large_is_bad(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(lines(["label", *PIXEL_NAMES], [[300, *KAGGLE[0][1:]], *KAGGLE[1:]]))
    stretches = read_all(open_images(tmp_path / "x.csv"), 7)
    assert bad_of(stretches) == {0: "x.csv row 0 has the label '300', expected a whole number from 0 to 255"}
    assert labels_of(stretches) == LABELS[1:]


def test_the_range_is_that_of_all_values_not_of_the_first(tmp_path: Path) -> None:
    late = np.zeros((5000, 28, 28), np.float32)
    late[4999] = 255
    np.save(tmp_path / "x.npy", late)
    with open_images(tmp_path / "x.npy") as source:
        assert source.read(4998, 5000)().images.max(axis=(1, 2)).tolist() == [0, 255]


def test_what_is_passed_over_is_counted_and_may_be_an_error(tmp_path: Path) -> None:
    folders(tmp_path / "pile", [""] * 3)
    for name in ("notes.txt", "more.TXT", ".DS_Store", "README", "labels.csv", "_SUCCESS"):
        (tmp_path / "pile" / name).touch()
    source = open_images(tmp_path / "pile")
    assert source.passed_over == {".txt": 2, "hidden": 1, "without a suffix": 1, ".csv": 1}
    assert source.count == 3
    with pytest.raises(DataError, match=r"holds 1 \.csv and 2 \.txt and 1 hidden and 1 without a suffix that would be"):
        open_images(tmp_path / "pile", strict=True)


def test_a_flat_folder_whose_name_is_a_number_gives_no_labels(tmp_path: Path) -> None:
    folders(tmp_path / "42", [""] * 3)
    for path in (tmp_path / "42", tmp_path / "42/*.png", tmp_path / "42/000.png", tmp_path):
        with open_images(path) as source:
            assert not source.labelled
    assert labels_of(read_all(open_images(tmp_path, labels_from="folder"))) == [42] * 3
