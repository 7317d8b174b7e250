import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import DataError, FormatError, PipelineError
from pipeline.jobs.scored import Origin, read_scores
from tests import scores

SCORES = np.arange(10, dtype=np.float32)
Z_MEAN = np.arange(30, dtype=np.float32).reshape(10, 3)


def test_all_rows_of_all_parts_come_in_their_order(tmp_path: Path) -> None:
    found = read_scores(scores.write(tmp_path / "scores", SCORES, Z_MEAN, rows_per_part=4))
    np.testing.assert_array_equal(found.score, SCORES)
    np.testing.assert_array_equal(found.z_mean, Z_MEAN)
    assert (found.rows, found.every) == (10, 1)
    assert found.origin == Origin(scores.MODEL, "float32", scores.ENCODER, 3)


def test_one_file_is_a_result_too_and_latents_may_be_missing(tmp_path: Path) -> None:
    found = read_scores(scores.write(tmp_path / "scores", SCORES) / "part-00000.parquet")
    np.testing.assert_array_equal(found.score, SCORES)
    assert found.z_mean is None
    assert found.origin == Origin(scores.MODEL, "float32", None, 0)


@pytest.mark.parametrize(("most", "every"), [(10, 1), (9, 2), (5, 2), (4, 3), (1, 10)])
@pytest.mark.parametrize("rows_per_part", [3, 10])
def test_of_many_rows_evenly_spaced_ones_are_taken(most: int, every: int, rows_per_part: int, tmp_path: Path) -> None:
    found = read_scores(scores.write(tmp_path / "scores", SCORES, Z_MEAN, rows_per_part=rows_per_part), most)
    assert (found.rows, found.every) == (10, every)
    np.testing.assert_array_equal(found.score, SCORES[::every])
    np.testing.assert_array_equal(found.z_mean, Z_MEAN[::every])


def test_memory_holds_what_is_taken_and_not_the_pile(tmp_path: Path) -> None:
    peaks = []
    for parts in (1, 2, 6):  # the first one loads what is loaded once
        score = np.zeros(parts * 65_536, np.float32)
        folder = scores.write(tmp_path / str(parts), score, np.zeros((len(score), 8), np.float32))
        tracemalloc.start()
        read_scores(folder, 1000)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] == pytest.approx(peaks[1], rel=0.2)


def nothing(folder: Path) -> Path:
    return folder


def result(**about: object) -> Callable[[Path], Path]:
    return lambda folder: scores.write(folder, **({"score": SCORES} | about))  # type: ignore[arg-type]


def part(table: pa.Table) -> Callable[[Path], Path]:
    """A result whose second part is another."""

    def write(folder: Path) -> Path:
        pq.write_table(table, scores.write(folder, SCORES) / "part-00001.parquet")
        return folder

    return write


def only(table: pa.Table) -> Callable[[Path], Path]:
    """A result of that one part."""

    def write(folder: Path) -> Path:
        pq.write_table(table, scores.write(folder, SCORES) / "part-00000.parquet")
        return folder

    return write


def damaged(where: int) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        file = scores.write(folder, np.arange(1000, dtype=np.float32)) / "part-00000.parquet"
        content = file.read_bytes()
        file.write_bytes(content[:where])
        return folder

    return write


def without(name: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (scores.write(folder, SCORES) / name).unlink()
        return folder

    return write


def column(name: str, values: pa.Array) -> pa.Table:
    table = scores.table(SCORES)
    if name in table.column_names:
        return table.set_column(table.column_names.index(name), name, values)
    return table.append_column(name, values)


def changed(row: int, value: float) -> np.ndarray:
    values = SCORES.copy()
    values[row] = value
    return values


TWO = pa.list_(pa.float32(), 2)
ONE_NULL = [None, *map(float, range(9))]
BAD = {
    "nothing": (nothing, DataError, "scores was not found; expected the scores that `vae score` wrote"),
    "of another job": (result(job="encode"), DataError, "scores holds the result of `vae encode`; expected the scores"),
    "unfinished": (without("_manifest.json"), DataError, "scores holds no _manifest.json, with which each complete"),
    "no parts": (without("part-00000.parquet"), DataError, "scores holds no Parquet files; expected the scores"),
    "no rows": (result(score=SCORES[:0]), DataError, "scores holds no rows; expected the scores"),
    "NaN": (result(score=changed(3, np.nan)), DataError, "part-00000.parquet holds a score that is missing or not fi"),
    "infinity": (result(score=changed(9, np.inf)), DataError, "holds a score that is missing or not finite; run"),
    "null": (part(column("score", pa.array(ONE_NULL, pa.float32()))), DataError, "part-00001.parquet holds a score"),
    "a latent that is NaN": (result(z_mean=np.full((10, 2), np.nan)), DataError, "missing or not finite"),
    "a latent that is null": (only(column("z_mean", pa.nulls(10, TWO))), DataError, "missing or not finite; run"),
    "a null in a latent": (only(column("z_mean", pa.array([[0, None]] * 10, TWO))), DataError, "missing or not fin"),
    "cut off": (damaged(500), FormatError, "part-00000.parquet is not Parquet, or is damaged: "),
    "empty": (damaged(0), FormatError, "part-00000.parquet is not Parquet, or is damaged: "),
    "no score": (part(scores.table(SCORES).drop(["score"])), FormatError, "part-00001.parquet has no column score"),
    "score as text": (part(column("score", pa.array(["a"] * 10))), FormatError, "has score as string; expected"),
    "score as double": (part(column("score", pa.array(SCORES, pa.float64()))), FormatError, "has score as double;"),
    "latents of any length": (
        part(column("z_mean", pa.array([[1.0]] * 10, pa.list_(pa.float32())))),
        FormatError,
        "has z_mean as list<.*>; expected the scores that `vae score` wrote, with fixed-size lists of float",
    ),
    "latents as double": (
        part(column("z_mean", pa.array([[1.0]] * 10, pa.list_(pa.float64(), 1)))),
        FormatError,
        "has z_mean as fixed_size_list<.*double>.1.; expected",
    ),
    "of no model": (result(model_sha256=None), FormatError, "doesn't say which model scored it .model_sha256 in its"),
    "of two models": (
        part(scores.table(SCORES, model_sha256="c" * 64)),
        FormatError,
        "part-00001.parquet was not scored as .*part-00000.parquet was; expected one result",
    ),
    "latents in one part alone": (part(scores.table(SCORES, Z_MEAN)), FormatError, "was not scored as .* was"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_result_is_refused_in_one_line(case: str, tmp_path: Path) -> None:
    write, kind, complaint = BAD[case]
    with pytest.raises(PipelineError, match=complaint) as refusal:
        read_scores(write(tmp_path / "scores"))
    assert type(refusal.value) is kind
    assert "\n" not in str(refusal.value)


def test_bytes_that_are_changed_anywhere_give_numbers_or_one_line(tmp_path: Path) -> None:
    file = scores.write(tmp_path / "scores", SCORES, Z_MEAN) / "part-00000.parquet"
    content = file.read_bytes()
    for place in range(0, len(content), 7):
        file.write_bytes(content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :])
        try:
            assert len(read_scores(file).score) == 10
        except PipelineError as error:
            assert "\n" not in str(error)
