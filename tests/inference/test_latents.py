from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import norm

from pipeline.data.images import ImageSource
from pipeline.errors import DataError, FormatError
from pipeline.inference import Decoder, Encoder
from pipeline.inference.encode import encode
from pipeline.inference.generate import generate
from pipeline.inference.latents import LatentSource, choose_latents, manifold, open_latents, prior
from pipeline.inference.parquet import batches

Z = np.random.default_rng(3).standard_normal((10, 2), np.float32)


def read_all(source: LatentSource, size: int = 4096) -> NDArray[np.float32]:
    return np.concatenate([source.read(*rows) for rows in batches(source.count, size)])


def write(path: Path, latents: pa.Array, column: str = "z", **options: int) -> Path:
    pq.write_table(pa.table({column: latents}), path, **options)
    return path


def lists(rows: list[list[float | None] | None], size: int = -1) -> pa.Array:
    return pa.array(rows, pa.list_(pa.float32(), size))


def test_prior_is_the_standard_normal_distribution() -> None:
    """Standard errors over n draws: 1/sqrt(n) of a mean and of a correlation, sqrt(2/n) of a variance."""
    n = 200_000
    z = read_all(prior(n, seed=0, latent_dim=3))
    assert z.dtype == np.float32
    assert z.shape == (n, 3)
    assert np.abs(z.mean(axis=0)).max() < 4 / np.sqrt(n)
    assert np.abs(np.cov(z.T) - np.eye(3)).max() < 4 * np.sqrt(2 / n)
    assert np.abs(np.corrcoef(z[:-1].T, z[1:].T)[:3, 3:]).max() < 4 / np.sqrt(n)  # nor does a row know the next
    for latent in z.T:
        assert np.abs((latent < 1).mean() - norm.cdf(1)) < 4 * 0.5 / np.sqrt(n)


@settings(deadline=None)
@given(
    counts=st.tuples(st.integers(1, 140_000), st.integers(1, 140_000)),
    sizes=st.tuples(st.integers(500, 140_000), st.integers(500, 140_000)),
    seed=st.integers(0, 2**64),
)
def test_a_prefix_of_a_longer_draw_is_the_shorter_draw(
    counts: tuple[int, int], sizes: tuple[int, int], seed: int
) -> None:
    short, long = (prior(count, seed, latent_dim=2) for count in sorted(counts))
    assert read_all(short, sizes[0]).tobytes() == read_all(long, sizes[1])[: short.count].tobytes()


def test_seeds_and_parts_differ() -> None:
    first, second = (prior(65_537, seed, latent_dim=2) for seed in (0, 1))
    starts = [source.read(row, row + 1).tobytes() for source in (first, second) for row in (0, 65_536)]
    assert len(set(starts)) == 4
    assert first.sha256 != second.sha256


@pytest.mark.parametrize("latent_dim", [2, 20])
def test_manifold_spans_the_quantiles_of_the_prior(latent_dim: int) -> None:
    """Left to right latent 0 grows, top to bottom latent 1 falls, the others rest at 0."""
    side = 5
    z = read_all(manifold(side, latent_dim)).reshape(side, side, latent_dim)
    quantiles = norm.ppf([0.1, 0.3, 0.5, 0.7, 0.9])
    np.testing.assert_allclose(z[..., 0], np.broadcast_to(quantiles, (side, side)), atol=1e-6)
    np.testing.assert_allclose(z[..., 1], np.broadcast_to(quantiles[::-1, None], (side, side)), atol=1e-6)
    assert not z[..., 2:].any()


def test_manifold_of_one_latent_is_a_single_row() -> None:
    np.testing.assert_allclose(read_all(manifold(2, latent_dim=1)), norm.ppf([[0.25], [0.75]]), atol=1e-6)


def test_choose_latents_reads_the_first_of_a_file_or_spans_or_draws(tmp_path: Path) -> None:
    np.save(tmp_path / "z.npy", Z)
    of_file = [choose_latents(2, path=tmp_path / "z.npy", count=count) for count in (4, 10, None)]
    assert [source.count for source in of_file] == [4, 10, 10]
    with pytest.raises(DataError, match="holds 10 latents, --count asks for 11"):
        choose_latents(2, path=tmp_path / "z.npy", count=11)
    assert read_all(of_file[0]).tolist() == Z[:4].tolist()
    assert read_all(choose_latents(2, side=3)).tolist() == read_all(manifold(3, 2)).tolist()
    assert read_all(choose_latents(2, count=6, seed=8)).tolist() == read_all(prior(6, 8, 2)).tolist()


@pytest.mark.parametrize("save", [np.asfortranarray, np.ascontiguousarray])
def test_npy(save: Callable[[NDArray[np.float32]], NDArray[np.float32]], tmp_path: Path) -> None:
    np.save(tmp_path / "z.npy", save(Z))
    source = open_latents(tmp_path / "z.npy", 2)
    assert source.count == 10
    assert source.read(3, 7).tobytes() == Z[3:7].tobytes()


@pytest.mark.parametrize("column", ["z", "z_mean"])
@pytest.mark.parametrize("size", [2, -1])
def test_parquet_with_lists_of_fixed_or_free_size(column: str, size: int, tmp_path: Path) -> None:
    source = open_latents(write(tmp_path / "z.parquet", lists(Z.tolist(), size), column), 2)
    assert read_all(source, 4).tobytes() == Z.tobytes()


@settings(deadline=None)
@given(rows=st.tuples(st.integers(0, 9), st.integers(0, 9)), group=st.integers(1, 10))
def test_any_piece_of_any_parts(rows: tuple[int, int], group: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("parts")
    write(folder / "part-00000.parquet", lists(Z[:7].tolist()), row_group_size=group)
    write(folder / "part-00001.parquet", lists(Z[7:].tolist()), row_group_size=group)
    start, stop = min(rows), max(rows) + 1
    assert open_latents(folder, 2).read(start, stop).tobytes() == Z[start:stop].tobytes()


def test_what_encode_and_generate_wrote(
    encoder: Encoder, decoder: Decoder, images: NDArray[np.uint8], tmp_path: Path
) -> None:
    encode(encoder, ImageSource(tmp_path, 600, lambda start, stop: images[start:stop], ""), tmp_path / "encoded")
    generate(decoder, prior(600, 0, 2), tmp_path / "generated.npy")  # the name of a folder means nothing
    assert read_all(open_latents(tmp_path / "encoded", 2)).tobytes() == encoder(images[:600])[0].tobytes()
    assert read_all(open_latents(tmp_path / "generated.npy", 2)).tobytes() == read_all(prior(600, 0, 2)).tobytes()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["z.npy", "z.parquet"])
def test_a_value_that_is_not_finite_is_refused_by_its_row(bad: float, name: str, tmp_path: Path) -> None:
    z = Z.copy()
    z[7, 1] = bad
    path = tmp_path / name
    if name == "z.npy":
        np.save(path, z)
    else:
        write(path, lists(z.tolist()), row_group_size=4)
    source = open_latents(path, 2)
    assert source.read(0, 4).tobytes() == Z[:4].tobytes()
    with pytest.raises(FormatError) as refusal:
        read_all(source, 3)
    assert str(refusal.value) == f"{path} holds a value that is not finite in row 7"


@pytest.mark.parametrize(
    ("rows", "size", "message"),
    [
        ([[1, 2], None], 2, "does not hold 2 latents in row 1"),
        ([[1, 2], None], -1, "does not hold 2 latents in row 1"),
        ([[1, 2], [3], [4, 5, 6]], -1, "does not hold 2 latents in row 1"),  # six numbers, but not two in each row
        ([[1, 2], [3, None]], 2, "holds a value that is not finite in row 1"),
    ],
)
def test_rows_without_their_latents_are_refused(
    rows: list[list[float | None] | None], size: int, message: str, tmp_path: Path
) -> None:
    path = write(tmp_path / "z.parquet", lists(rows, size), row_group_size=1)
    with pytest.raises(FormatError) as refusal:
        read_all(open_latents(path, 2))
    assert str(refusal.value) == f"{path} {message}"


def leave_out(path: Path) -> None:
    """No file at all."""


def save_npy(values: object) -> Callable[[Path], None]:
    return lambda path: np.save(path, np.array(values))


def save_bytes(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


@pytest.mark.parametrize(
    ("name", "make", "error", "message"),
    [
        ("z.npy", leave_out, DataError, "was not found; expected latents as"),
        ("z.npy", save_npy(Z.astype(np.float64)), FormatError, r"holds float64\[10, 2\], expected float32\[n, 2\]"),
        ("z.npy", save_npy(Z[:, :1]), FormatError, r"holds float32\[10, 1\], expected float32\[n, 2\]"),
        ("z.npy", save_npy(Z[0]), FormatError, r"holds float32\[2\], expected float32\[n, 2\]"),
        ("z.npy", save_npy(Z[:0]), DataError, "holds no latents"),
        ("z.npy", save_npy([None]), FormatError, "is not an .npy array of numbers"),
        ("z.npy", save_bytes(b""), FormatError, "is not an .npy array of numbers"),
        ("z.npy", save_bytes(b"PK\x03\x04 an .npz file"), FormatError, "is not an .npy array of numbers"),
        ("z.parquet", save_bytes(b""), FormatError, "is not Parquet, or is damaged"),
        ("z.parquet", save_bytes(b"1.0,2.0\n" * 9), FormatError, "is not Parquet, or is damaged"),
        ("z.parquet", lambda path: write(path, lists([], 2)), DataError, "holds no latents"),
        (
            "z.parquet",
            lambda path: write(path, lists([[1]], 1)),
            FormatError,
            r"holds z as .*\[1\], expected lists of 2 float32",
        ),
        (
            "z.parquet",
            lambda path: write(path, pa.array([[1, 2]], pa.list_(pa.float64(), 2))),
            FormatError,
            r"holds z as fixed_size_list<.*double>\[2\], expected lists of 2 float32",
        ),
        (
            "z.parquet",
            lambda path: write(path, lists([[1, 2]]), "mu"),
            FormatError,
            "holds the columns mu, expected z_mean or z",
        ),
        ("folder", lambda path: path.mkdir(), DataError, r"holds no part-\*.parquet file"),
    ],
)
def test_other_files_are_refused_in_one_line(
    name: str, make: Callable[[Path], object], error: type[DataError], message: str, tmp_path: Path
) -> None:
    make(tmp_path / name)
    with pytest.raises(error, match=f"{name} {message}") as refusal:
        open_latents(tmp_path / name, 2)
    assert "\n" not in str(refusal.value)


def test_a_damaged_page_is_refused_when_it_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "z.parquet", lists(Z.tolist()))
    content = bytearray(path.read_bytes())
    content[4:36] = b"x" * 32  # the page's header
    path.write_bytes(content)
    with pytest.raises(FormatError, match=r"z\.parquet is damaged"):
        read_all(open_latents(path, 2))
