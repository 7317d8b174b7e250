"""How fast piles of each kind are read, as shares of what bounds them; all measured in one run.

Pictures are bound by decoding them with OpenCV and encoding them from memory on all cores, raw bytes in Parquet by the
same bytes in an `.npy` file, CSV by pyarrow's own reader. A share is the median over the rounds, each of which measures
the bound right before; one whose rounds disagree is marked, since it may be the machine's other work.
"""

import csv
import gzip
import io
import statistics
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.inference.parallel import cores, map_ordered
from pipeline.inference.session import Decoder, Encoder, Pixels, check_pair
from pipeline.jobs.encode import encode
from pipeline.jobs.job import Options
from pipeline.jobs.target import open_target
from pipeline.shared.interface import IMAGE_SHAPE, PIXELS
from pipeline.sources.images import open_images
from pipeline.sources.pixels import opencv
from pipeline.sources.rows import MAX_ROWS
from pipeline.tools.bench import WIDEST, spread_of

_NPY, _MEMORY, _PYARROW = ".npy", "pictures in memory", "pyarrow's reader"
_BOUNDS = {".npy": "", "Parquet of bytes": _NPY, "CSV": _PYARROW}
"""Of each kind; that of all others is `_MEMORY`."""


@dataclass(frozen=True)
class SourceSpeed:
    """The result for one kind."""

    kind: str
    images_per_second: float
    bound: str
    share: float | None
    """Of the bound, if there is one; a median, as the rate is."""
    spread: float
    """Distance between the quartiles of the share, as a share of it."""


@dataclass(frozen=True)
class SourceSpeeds:
    """All figures of a run."""

    workers: int
    images: int
    rounds: int
    figures: tuple[SourceSpeed, ...]

    def __str__(self) -> str:
        """A table of at most 80 columns."""
        row = "{:<22}{:>12}{:>12}  {:<22}{:>8}"
        lines = [
            f"{self.workers} core(s), {self.images:,} images, median of {self.rounds} rounds",
            "",
            row.format("", "images/s", "of bound", "bound", "spread"),
        ]
        for one in self.figures:
            share = "" if one.share is None else f"{'~' * (one.spread > WIDEST)}{one.share:.0%}"
            wide = "" if one.share is None else f"{one.spread:.0%}"
            lines.append(row.format(one.kind, f"{one.images_per_second:,.0f}", share, one.bound, wide).rstrip())
        if any(one.spread > WIDEST for one in self.figures):
            lines += ["", f"~ the rounds differ by more than {WIDEST:.0%}: end other work on this machine"]
        return "\n".join(lines)


def bench_sources(bundle: Path, images: int, rounds: int, log: Callable[[str], object]) -> SourceSpeeds:
    """Measure how fast piles of `images` digits are read and encoded, whatever they are kept in.

    Args:
        bundle: holds both halves; the digits are drawn with the decoder.
        images: how many; they are written to the temporary folder in every kind.
        rounds: how many times each is measured.
        log: called with a line on each step.
    """
    encoder, decoder = Encoder(bundle / "encoder"), Decoder(bundle / "decoder")
    check_pair(encoder, decoder)
    z = np.random.default_rng(0).standard_normal((images, decoder.latent_dim), np.float32)
    with tempfile.TemporaryDirectory() as folder:
        log(f"writing {images:,} images in each kind")
        digits = decoder.pixels(z)
        pictures = [opencv().imencode(".png", digit)[1].tobytes() for digit in digits]
        piles = _write_piles(Path(folder), digits, pictures)
        bounds = {
            _MEMORY: lambda: _from_memory(encoder, pictures),
            _PYARROW: lambda: _by_pyarrow(piles["CSV"]),
            _NPY: lambda: _job(encoder, piles[".npy"]),
        }
        rates: dict[str, list[float]] = {kind: [] for kind in piles}
        shares: dict[str, list[float]] = {kind: [] for kind in piles}
        for number in range(rounds):
            log(f"round {number + 1}")
            for kind, pile in piles.items():
                bound = _BOUNDS.get(kind, _MEMORY)
                most = _rate(images, bounds[bound]) if bound else None
                rates[kind].append(_rate(images, lambda pile=pile: _job(encoder, pile)))  # type: ignore[misc]
                if most is not None:
                    shares[kind].append(rates[kind][-1] / most)
    return SourceSpeeds(cores(), images, rounds, tuple(_summed(kind, rates[kind], shares[kind]) for kind in piles))


def _summed(kind: str, rates: list[float], shares: list[float]) -> SourceSpeed:
    share = statistics.median(shares) if shares else None
    return SourceSpeed(
        kind, statistics.median(rates), _BOUNDS.get(kind, _MEMORY), share, spread_of(shares) if shares else 0
    )


def _rate(images: int, work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return images / (time.perf_counter() - start)


def _job(encoder: Encoder, pile: Path) -> None:
    """The batch job, without the start of a process."""
    with tempfile.TemporaryDirectory() as folder, open_images(pile) as source:
        encode(encoder, source, open_target(Path(folder) / "out"), Options(quiet=True))


def _from_memory(encoder: Encoder, pictures: list[bytes]) -> None:
    cv2 = opencv()

    def work(start: int) -> object:
        some = pictures[start : start + MAX_ROWS]
        pixels = np.empty((len(some), *IMAGE_SHAPE), np.uint8)
        for row, picture in enumerate(some):
            pixels[row] = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_UNCHANGED)
        return encoder(pixels)

    for _ in map_ordered(work, range(0, len(pictures), MAX_ROWS), cores()):
        pass


def _by_pyarrow(pile: Path) -> None:
    import pyarrow.csv as arrow  # noqa: PLC0415

    arrow.read_csv(pile)


def _write_piles(folder: Path, digits: Pixels, pictures: list[bytes]) -> dict[str, Path]:
    """The same digits in every kind, by its name."""
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    names = [f"{row:07d}.png" for row in range(len(pictures))]
    np.save(folder / "pile.npy", digits)
    pq.write_table(pa.table({"image": pa.array([one.tobytes() for one in digits], pa.binary(PIXELS))}), folder / "b.pq")
    pq.write_table(pa.table({"image": pa.array(pictures, pa.binary())}), folder / "pictures.pq")
    (folder / "pictures").mkdir()
    for name, picture in zip(names, pictures, strict=True):
        (folder / "pictures" / name).write_bytes(picture)
    with tarfile.open(folder / "pile.tar", "w") as tar, zipfile.ZipFile(folder / "pile.zip", "w") as archive:
        for name, picture in zip(names, pictures, strict=True):
            archive.writestr(name, picture)
            for member, content in ((name, picture), (name.replace(".png", ".cls"), b"7")):
                about = tarfile.TarInfo(member)
                about.size = len(content)
                tar.addfile(about, io.BytesIO(content))
    (folder / "pile.tar.gz").write_bytes(gzip.compress((folder / "pile.tar").read_bytes(), 1))
    with (folder / "pile.csv").open("w", newline="") as file:
        csv.writer(file).writerows(digits.reshape(len(digits), -1).tolist())
    piles = {".npy": "pile.npy", "Parquet of bytes": "b.pq", "Parquet of PNG": "pictures.pq", "folder": "pictures"}
    piles |= {"tar": "pile.tar", "tar.gz": "pile.tar.gz", "zip": "pile.zip", "CSV": "pile.csv"}
    return {kind: folder / name for kind, name in piles.items()}
