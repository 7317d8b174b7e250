"""Kinds of files: told by their names, or else by their first bytes."""

import zlib

from pipeline.errors import FormatError

PICTURES, PARQUET, ARROW, TAR, ZIP, CSV, ARRAYS = "picture", "Parquet", "Arrow", "tar", "zip", "CSV", "array"
SUFFIXES = {
    PICTURES: (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".dib", ".tif", ".tiff", ".gif"),
    PARQUET: (".parquet", ".pq", ".parq"),
    ARROW: (".arrow", ".feather", ".ipc"),
    TAR: (".tar", ".tar.gz", ".tgz"),
    ZIP: (".zip",),
    CSV: (".csv", ".csv.gz", ".tsv", ".tsv.gz"),
    ARRAYS: (".npy", ".npz", ".npy.gz", ".idx", ".idx.gz", "-ubyte", "-ubyte.gz", "-int", "-int.gz"),
}
_LAST = {suffix: kind for kind, suffixes in SUFFIXES.items() for suffix in suffixes if suffix.count(".") == 1}
EXPECTED = (
    "an IDX, .npy, .npz, .csv, .parquet, .arrow, .tar or .zip file, a picture, or a folder or pattern of one of these"
)
START = 600  # bytes that tell

_PICTURES = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF8", b"II*\0", b"MM\0*"
_ZIP = b"PK\x03\x04"
_SIGNS = {
    b"PAR1": PARQUET,
    b"ARROW1": ARROW,
    b"\xff\xff\xff\xff": ARROW,  # a stream, as Hugging Face writes them
    b"\x93NUMPY": ARRAYS,
}
_OTHERS = {
    b"\x89HDF\r\n\x1a\n": "an HDF5 file (.h5, or MATLAB 7.3): read it with h5py",
    b"MATLAB 5.0": "a MATLAB file: read it with scipy.io.loadmat",
    b"BZh": "a bzip2 file: unpack it with bunzip2 first",
    b"\xfd7zXZ": "an xz file: unpack it with unxz first",
    b"\x28\xb5\x2f\xfd": "a Zstandard file: unpack it with zstd -d first",
    b"7z\xbc\xaf": "a 7-Zip archive: unpack it first",
    b"Rar!": "a RAR archive: unpack it first",
    b"%PDF": "a PDF file: save its pages as PNG",
    b"SQLite format 3": "an SQLite database: read it with sqlite3",
    b"FEA1": "a Feather file of version 1: write it again with pyarrow.feather.write_feather",
    b"Obj\x01": "an Avro file: write it as Parquet",
    b"ORC": "an ORC file: read it with pyarrow.orc",
    b"{": "JSON",
    b"[": "JSON",
    b"<": "a web page or XML, perhaps what a server says instead of the file: open the address in a browser",
    **{
        bytes([0x80, version]): "a pickle, which may run any code when it is loaded: load it yourself"
        for version in range(2, 6)
    },
}
_HEIC = {b"ftypheic", b"ftypheix", b"ftypmif1", b"ftypavif"}
_SAVE = "save its images with numpy.save as uint8 [n, 28, 28]"


def kind_of_name(name: str) -> str | None:
    """The kind of a file by its name; None if that doesn't tell."""
    last = name[name.rfind(".") :].lower()
    if last in _LAST:  # of a million names, nearly all
        return _LAST[last]
    lower = name.lower()
    return next((kind for kind, suffixes in SUFFIXES.items() if lower.endswith(suffixes)), None)


def is_picture(start: bytes) -> bool:
    """Whether a file that starts so is a picture."""
    return start.startswith((*_PICTURES, b"BM")) or (start[:4] == b"RIFF" and start[8:12] == b"WEBP")


def kind_of_content(start: bytes) -> str | None:
    """The kind of a file by its first bytes; None if they don't tell."""
    if start.startswith(b"\x1f\x8b"):
        return {TAR: TAR, CSV: CSV}.get(kind_of_content(_unpacked(start)) or ARRAYS, ARRAYS)
    first = start[30 : 30 + int.from_bytes(start[26:28], "little")]  # the name of the first member of a zip file
    line = start.split(b"\n")[0]
    for kind, found in (
        (PICTURES, is_picture(start)),
        (TAR, start[257:262] == b"ustar"),
        (ARRAYS, start.startswith(_ZIP) and first.endswith(b".npy")),
        (ZIP, start.startswith(_ZIP)),
        (ARRAYS, start[:2] == b"\0\0" and len(start) > 3 and 0 < start[3] < 5),
        (CSV, max(map(line.count, (b",", b";", b"\t"))) > 20 and line.isascii() and b"\0" not in line),
    ):
        if found:
            return kind
    return next((kind for sign, kind in _SIGNS.items() if start.startswith(sign)), None)


def refuse(name: str, start: bytes) -> FormatError:
    """What is wrong with a file of an unknown kind that starts so."""
    inside = _unpacked(start) if start.startswith(b"\x1f\x8b") else start
    about = next(
        (words for sign, words in _OTHERS.items() if inside.lstrip(b"\xef\xbb\xbf \r\n\t").startswith(sign)), None
    )
    if inside[4:12] in _HEIC:
        about = "a HEIC or AVIF picture: save it as PNG or JPEG"
    if name.lower().split("?")[0].endswith((".tfrecord", ".tfrecords")):
        about = "TensorFlow's TFRecord: read it with tf.data"
    if about is None:
        return FormatError(f"{name} starts with {start[:8]!r}, which is no known kind of file; expected {EXPECTED}")
    return FormatError(f"{name} is {about}, and {_SAVE}; expected {EXPECTED}")


def _unpacked(start: bytes) -> bytes:
    """The first bytes inside a gzip stream of which only the first are here."""
    try:
        return zlib.decompressobj(wbits=zlib.MAX_WBITS | 16).decompress(start, START)
    except zlib.error:
        return b""
