"""The files of a result: Parquet parts, PNG files, or one .npy, .npz or .png file. Equal pieces give equal bytes."""

import math
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from pipeline.jobs.png_stream import write_strips
from pipeline.shared.files import flush

Array = NDArray[Any]
Columns = Mapping[str, Array]
"""`index` int64 `[n]`; `label` int16 `[n]`, -1 for none; `source` text `[n]`; `z`, `z_mean`, `z_log_var` float32
`[n, latent_dim]`; `excess`, `reconstruction`, `kl`, `score`, `percentile` float32 `[n]`; `image` uint8
`[n, height, width]`; `png`, an object array of n files; `strip`, an object array of one `png_stream.Strip`."""

PARQUET, PNG, NPY, NPZ, POSTER = "parquet", "png", "npy", "npz", "poster"
FORMATS = (PARQUET, PNG, NPY, NPZ)
SINGLE_FILE = {NPY: NPY, NPZ: NPZ, PNG: POSTER}
"""Formats of a single file, by its suffix. A poster is all images in one picture; pictures in a folder are `PNG`."""
NOT_WRITTEN = {
    *("csv", "tsv", "txt", "json", "jsonl", "ndjson", "xml", "yaml", "yml", "html", "pdf", "md", "xls", "xlsx"),
    *("jpg", "jpeg", "gif", "bmp", "tif", "tiff", "webp", "svg", "mp4"),
    *("tar", "tgz", "gz", "bz2", "xz", "zst", "zip", "7z"),
    *("h5", "hdf5", "arrow", "feather", "orc", "avro", "lance", "sqlite", "db", "pkl", "pickle", "mat", "pt", "pth"),
    *("safetensors", "tfrecord", "onnx", "idx", "idx1-ubyte", "idx2-ubyte", "idx3-ubyte"),
}
"""Suffixes of files; a folder of such a name would be taken for one. Spark's folders do end in .parquet."""
ROWS_PER_PART = 65_536
PART_GLOB = "part-*"
DIGITS = 5  # of the numbers of parts, at least
PNG_COLUMN, STRIP_COLUMN = "png", "strip"
_PAGE_BYTES = 65_536  # a page is filled and written while it is in the cache
_CHUNK = 1 << 17  # fits the cache


def part_stem(number: int, digits: int = DIGITS) -> str:
    """What the name of a part begins with. Readers go by the order of names, so all of a result are equally long."""
    return f"part-{number:0{digits}d}"


def part_name(number: int, format_: str, digits: int = DIGITS) -> str:
    """Of a file, or of a folder of PNG files."""
    return (
        part_stem(number, digits)
        + {PARQUET: ".parquet", PNG: "", NPY: ".npz", NPZ: ".npz", POSTER: ".deflated"}[format_]
    )


def write_part(path: Path, format_: str, pieces: Sequence[Columns], metadata: Mapping[str, str]) -> None:
    """Write the rows of `pieces`, in order, as one part; `metadata` go into a Parquet file."""
    if format_ == PARQUET:
        _write_parquet(path, pieces, metadata)
    elif format_ == PNG:
        path.mkdir()
        for piece in pieces:
            for index, png in zip(piece["index"], piece[PNG_COLUMN], strict=True):
                (path / f"{index:09d}.png").write_bytes(png)
    elif format_ == POSTER:
        write_strips(path, [strip for piece in pieces for strip in piece[STRIP_COLUMN]])
    else:
        columns: Any = {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}
        np.savez(path, **columns)
    if path.is_file():  # a flush for each of 65,536 pictures would take longer than to make them
        flush(path)


def _write_parquet(path: Path, pieces: Sequence[Columns], metadata: Mapping[str, str]) -> None:
    import pyarrow as pa  # noqa: PLC0415  (imported while the workers compute)
    import pyarrow.parquet as pq  # noqa: PLC0415

    names = list(pieces[0])
    batches = [pa.RecordBatch.from_arrays([_to_arrow(name, piece[name]) for name in names], names) for piece in pieces]
    table = pa.Table.from_batches(batches).replace_schema_metadata(metadata)
    with path.open("wb") as file:  # pyarrow takes no path that is not text, as the name of a file need not be
        pq.write_table(
            table,
            file,
            compression="none",  # measured: floats hardly shrink, and images take longer to compress than to decode
            use_dictionary=False,  # nearly every float and every image is unique
            write_statistics=["index"],
            row_group_size=ROWS_PER_PART,
            data_page_size=_PAGE_BYTES,
        )


def _to_arrow(name: str, values: Array) -> Any:
    """From buffers: pyarrow's own conversions import pandas where it is installed, which takes 0.3 s."""
    import pyarrow as pa  # noqa: PLC0415

    rows = len(values)
    data = pa.py_buffer(np.ascontiguousarray(values))
    if name == "index":
        return pa.Array.from_buffers(pa.int64(), rows, [None, data])
    if name == "label":
        known = pa.py_buffer(np.packbits(values >= 0, bitorder="little"))
        return pa.Array.from_buffers(pa.uint8(), rows, [known, pa.py_buffer(values.astype(np.uint8))])
    if name == "source":
        return pa.array(values.tolist(), pa.string())
    if name == "image":
        return pa.Array.from_buffers(pa.binary(math.prod(values.shape[1:])), rows, [None, data])
    floats = pa.Array.from_buffers(pa.float32(), values.size, [None, data])
    if values.ndim == 1:
        return floats
    return pa.FixedSizeListArray.from_arrays(floats, values.shape[1])


def measure_part(path: Path) -> tuple[int, str]:
    """Bytes and XXH3-128 of a part; of a folder, of its files in the order of their names."""
    digest = xxhash.xxh3_128()
    size = 0
    chunk = memoryview(bytearray(_CHUNK))
    for file in sorted(path.iterdir()) if path.is_dir() else [path]:
        with file.open("rb", buffering=0) as content:
            while count := content.readinto(chunk):
                digest.update(chunk[:count])
                size += count
    return size, digest.hexdigest()


def read_part(path: Path, names: Iterable[str]) -> Columns:
    """Columns of an `.npz` part."""
    with np.load(path, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in names}


def write_npy(path: Path, parts: Sequence[Path], column: str) -> None:
    """One column of all `.npz` parts as an `.npy` file."""
    with path.open("wb") as file:
        _write_array(file, parts, column)


def write_npz(path: Path, parts: Sequence[Path]) -> None:
    """All columns of all `.npz` parts as one `.npz` file, not compressed."""
    with np.load(parts[0], allow_pickle=False) as first:
        names = list(first.files)
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as file:
                _write_array(file, parts, name)


def _write_array(file: IO[bytes], parts: Sequence[Path], column: str) -> None:
    def pieces() -> Iterator[Array]:
        return (read_part(part, [column])[column] for part in parts)

    first, rows = next(pieces()), sum(_rows(part) for part in parts)
    # Text is as wide in each part as its longest needs.
    kind = first.dtype if first.dtype.kind != "U" else np.result_type(*(piece.dtype for piece in pieces()))
    header = np.lib.format.header_data_from_array_1_0(first.astype(kind)) | {"shape": (rows, *first.shape[1:])}
    np.lib.format.write_array_header_1_0(file, header)
    for piece in pieces():
        file.write(piece.astype(kind, copy=False).reshape(-1).view(np.uint8).data)


def _rows(part: Path) -> int:
    return len(read_part(part, ["index"])["index"])
