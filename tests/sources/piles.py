"""The same images in every format that a pile can have."""

import gzip
import io
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from pipeline.sources.idx import encode_idx
from pipeline.sources.images import ImageSource, Pixels, Rows

FORMATS = [
    "pile.idx",
    "pile.idx.gz",
    "pile-idx3-ubyte",
    "pile.npy",
    "colour.npy",
    "pile.npz",
    "compressed.npz",
    "binary.parquet",
    "variable.parquet",
    "list.parquet",
    "nested.parquet",
    "encoded.parquet",
    "struct.parquet",
    "folder_of_parquet",
    "folder_of_png",
    "pile.tar",
    "pile.tar.gz",
    "folder_of_tar",
]


def write(path: Path, images: Pixels, labels: Sequence[int] | None = None) -> Path:
    """Keep `images` in the format that the name of `path` says; labels where the format has a place for them."""
    kind, suffix = path.name.split(".")[0], path.suffix
    if kind.startswith("folder"):
        write_folder(path, images, labels)
    elif suffix == ".npy":
        array = np.stack([images] * 3, axis=-1) if kind == "colour" else images
        np.save(path, np.asfortranarray(array) if kind == "fortran" else array)
    elif suffix == ".npz":
        save = np.savez_compressed if kind == "compressed" else np.savez
        save(path, images=images, **({} if labels is None else {"labels": np.array(labels, np.uint8)}))
    elif suffix == ".parquet":
        columns = {"image": column(kind, images)} | ({} if labels is None else {"label": pa.array(list(labels))})
        pq.write_table(pa.table(columns), path, row_group_size=64)
    elif ".tar" in path.suffixes:
        members = {f"{number:04d}.png": png(image) for number, image in enumerate(images)}
        members |= {f"{number:04d}.cls": str(label).encode() for number, label in enumerate(labels or ())}
        path.write_bytes(tar(dict(sorted(members.items())), gz=suffix == ".gz"))
    else:
        content = encode_idx(images)
        path.write_bytes(gzip.compress(content) if suffix == ".gz" else content)
    return path


def write_folder(path: Path, images: Pixels, labels: Sequence[int] | None) -> None:
    """Keep `images` in a folder of pictures, or of parts in another format."""
    path.mkdir()
    if path.name == "folder_of_png":
        for number, image in enumerate(images):
            folder = path / str(labels[number]) if labels is not None else path
            folder.mkdir(exist_ok=True)
            (folder / f"{number:04d}.png").write_bytes(png(image))
        return
    for part, start in enumerate(range(0, len(images), 70)):
        some = slice(start, start + 70)
        name = f"{part:03d}.{path.name.rpartition('_')[2]}"
        write(path / name, images[some], None if labels is None else labels[some])


def column(kind: str, images: Pixels) -> pa.Array:
    """Images as Parquet keeps them."""
    match kind:
        case "list":
            return pa.array(images.reshape(len(images), -1).tolist(), pa.list_(pa.uint8()))
        case "nested":
            return pa.array(images.tolist(), pa.list_(pa.list_(pa.int64(), 28), 28))
        case "encoded":
            return pa.array(map(png, images), pa.binary())
        case "struct":
            return pa.array([{"bytes": png(image), "path": None} for image in images])
        case "variable":
            return pa.array([image.tobytes() for image in images], pa.binary())
        case _:
            return pa.array([image.tobytes() for image in images], pa.binary(784))


def png(image: Pixels | Image.Image, kind: str = "PNG", **options: object) -> bytes:
    """A picture as a file."""
    file = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(file, kind, **options)
    return file.getvalue()


def tar(members: dict[str, bytes], *, gz: bool = False) -> bytes:
    """A tar file, compressed or not."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz" if gz else "w") as archive:
        for name, content in members.items():
            about = tarfile.TarInfo(name)
            about.size = len(content)
            archive.addfile(about, io.BytesIO(content))
    return file.getvalue()


def read_all(source: ImageSource, step: int = 100, start: int = 0) -> list[Rows]:
    """Every stretch of a source; none is decoded before the last is read."""
    stretches = []
    while source.end is None or start < source.end:
        stop = start + step if source.end is None else min(start + step, source.end)
        stretches.append(source.read(start, stop))
        start = stop
    return [decode() for decode in stretches]


def pixels_of(stretches: Sequence[Rows]) -> Pixels:
    """All good images."""
    return np.concatenate([rows.images for rows in stretches])


def labels_of(stretches: Sequence[Rows]) -> list[int] | None:
    """The labels of all good images."""
    labels = [rows.labels for rows in stretches if rows.labels is not None]
    return np.concatenate(labels).tolist() if labels else None


def bad_of(stretches: Sequence[Rows]) -> dict[int, str]:
    """What is wrong, by row."""
    return {bad.index: f"{Path(bad.name).name} {bad.reason}" for rows in stretches for bad in rows.bad}
