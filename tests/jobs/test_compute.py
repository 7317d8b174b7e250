"""A part is made in another process as the engine makes it here."""

import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from pipeline.errors import ModelError
from pipeline.inference import Decoder, Encoder
from pipeline.jobs.compute import stretches
from pipeline.jobs.draws import QuantileGrid, mixture, prior
from pipeline.jobs.encode import EncodeJob, encode
from pipeline.jobs.generate import GenerateJob, generate
from pipeline.jobs.job import Job, Options, Source
from pipeline.jobs.latent_files import open_latents
from pipeline.jobs.latent_rows import LatentSource
from pipeline.jobs.parts import ROWS_PER_PART
from pipeline.jobs.poster import Bands, Collected
from pipeline.jobs.reconstruct import ReconstructJob, reconstruct
from pipeline.jobs.target import open_target
from pipeline.sources.images import open_images
from pipeline.sources.rows import BadRow
from tests import mixtures, onnx_models
from tests.sources import piles
from tests.test_house import ROOT

ELSEWHERE = """
import pickle, sys
from pathlib import Path
from pipeline.jobs.compute import compute, run_part, stretches, write

job, source, number, start, stop = pickle.load(open(sys.argv[1], "rb"))
made = run_part(compute(job, source.read(*rows)(), "fail") for rows in stretches(start, stop))
write(job, number, made, Path(sys.argv[2]))
"""


def make_elsewhere(job: Job, source: Source, number: int, folder: Path) -> Path:
    """The second, third, ... part of a job, by a fresh process that is sent the job and the source."""
    rows = number * ROWS_PER_PART, min((number + 1) * ROWS_PER_PART, source.count)
    (folder / "sent.pickle").write_bytes(pickle.dumps((job, source, number, *rows)))
    command = [sys.executable, "-c", ELSEWHERE, str(folder / "sent.pickle"), str(folder)]
    subprocess.run(command, cwd=ROOT, check=True)
    return folder / f"part-{number:05d}.parquet"


@pytest.fixture(scope="module")
def pile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of two parts, of which every 64th takes room on the disk."""
    path = tmp_path_factory.mktemp("pile") / "images.npy"
    images = np.lib.format.open_memmap(path, "w+", np.uint8, (ROWS_PER_PART + 5000, 28, 28))
    images[::64] = np.random.default_rng(0).integers(0, 256, (len(images[::64]), 28, 28), np.uint8)
    return path


def test_a_part_of_encode(pile: Path, encoder: Encoder, folder: Path, tmp_path: Path) -> None:
    source = open_images(pile)
    encode(encoder, source, open_target(folder), Options(quiet=True))
    sent = make_elsewhere(EncodeJob("parquet", encoder), source, 1, tmp_path)
    assert sent.read_bytes() == (folder / "part-00001.parquet").read_bytes()


def test_a_part_of_reconstruct(pile: Path, encoder: Encoder, decoder: Decoder, folder: Path, tmp_path: Path) -> None:
    source = open_images(pile)
    reconstruct(encoder, decoder, source, open_target(folder), Options(quiet=True))
    sent = make_elsewhere(ReconstructJob("parquet", encoder, decoder), source, 1, tmp_path)
    assert sent.read_bytes() == (folder / "part-00001.parquet").read_bytes()


def test_a_part_of_generate(decoder: Decoder, folder: Path, tmp_path: Path) -> None:
    source = prior(ROWS_PER_PART + 5000, 3, decoder.latent_dim)
    generate(decoder, source, open_target(folder), Options(quiet=True))
    sent = make_elsewhere(GenerateJob("parquet", decoder, None, None), source, 1, tmp_path)
    assert sent.read_bytes() == (folder / "part-00001.parquet").read_bytes()


@pytest.mark.parametrize("format_", piles.FORMATS)
def test_a_pile_that_is_sent_is_opened_where_it_arrives(format_: str, tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (9, 28, 28), np.uint8)
    source = open_images(piles.write(tmp_path / format_, images))
    arrived = pickle.loads(pickle.dumps(source))
    np.testing.assert_array_equal(arrived.read(3, 8)().images, source.read(3, 8)().images)
    assert arrived.state() == source.state()


def latent_sources(folder: Path) -> list[LatentSource]:
    np.save(folder / "z.npy", np.random.default_rng(0).standard_normal((500, 2), np.float32))
    mixtures.save(folder / "mixture")
    z = np.random.default_rng(1).standard_normal((500, 2), np.float32)
    z[250] = np.nan
    np.savez(folder / "z.npz", z=z)
    np.savetxt(folder / "z.csv", z, delimiter=",")
    (folder / "several").mkdir()
    for part in range(5):
        table = pa.table({"z": z[part * 100 :][:100].tolist()})
        pq.write_table(table, folder / f"several/{part}.parquet", row_group_size=30)
        pyarrow.feather.write_feather(table, folder / f"{part}.arrow")
    return [
        prior(9000, 7, 2),
        mixture(folder / "mixture", 9000, 7, 2),
        QuantileGrid(30, 2),
        open_latents(folder / "z.npy", 2, 400),
        *(open_latents(folder / name, 2) for name in ("z.npz", "z.csv", "several", "*.arrow")),
    ]


def test_latents_that_are_sent_are_opened_where_they_arrive(tmp_path: Path) -> None:
    for source in latent_sources(tmp_path):
        arrived = pickle.loads(pickle.dumps(source))
        assert (arrived.name, arrived.count, arrived.state()) == (source.name, source.count, source.state())
        assert arrived.read(100, 300)().z.tobytes() == source.read(100, 300)().z.tobytes()


def test_latents_that_are_cut_are_those_of_the_whole(tmp_path: Path) -> None:
    for source in latent_sources(tmp_path):
        for start, stop in ((0, 100), (130, 131), (90, 310), (source.count - 50, source.count)):
            content = pickle.dumps(source.measured().cut(start, stop))
            assert len(content) < 2000
            found, expected = pickle.loads(content).read(start, stop)(), source.read(start, stop)()
            assert (found.bad, found.z.tobytes()) == (expected.bad, expected.z.tobytes())


def test_a_cut_of_latents_opens_its_own_files_alone(tmp_path: Path) -> None:
    *_, source, _ = latent_sources(tmp_path)
    cut = pickle.loads(pickle.dumps(source.cut(130, 180)))
    expected = source.read(130, 180)()
    for part in (0, 2, 3, 4):
        (tmp_path / f"several/{part}.parquet").unlink()
    assert cut.read(130, 180)().z.tobytes() == expected.z.tobytes()


def test_a_cut_of_bands_holds_the_latents_that_show_in_it() -> None:
    z = np.random.default_rng(0).standard_normal((60, 2), np.float32)
    bad = tuple(BadRow(row, f"row {row}", "is none") for row in (3, 17, 35, 59))
    bands = Bands(prior(60, 0, 2), Collected(z, bad), 8, 28)
    assert bands.count == 8 * 28
    for start, stop in ((0, 40), (40, 50), (56, 84), (100, 224)):
        cut = pickle.loads(pickle.dumps(bands.measured().cut(start, stop)))
        assert (cut.name, cut.count, cut.width) == (bands.name, bands.count, bands.width)
        assert len(cut.collected.z) <= 8 * (-(-stop // 28) - start // 28)
        for rows in ((start, stop), (start + 3, stop - 2)):
            found, expected = cut.read(*rows)(), bands.read(*rows)()
            assert found.z.tobytes() == expected.z.tobytes()
            assert found.absent.tolist() == expected.absent.tolist()
            assert (found.first, found.ended, found.bad) == (expected.first, expected.ended, expected.bad)


@pytest.mark.parametrize("there", ["nothing", "another model", "no model"])
def test_a_job_takes_its_model_along_whatever_lies_where_it_arrives(there: str, tmp_path: Path) -> None:
    file = onnx_models.save(onnx_models.encoder(), tmp_path / "encoder") / "model.onnx"
    images = np.random.default_rng(0).integers(0, 256, (9, 28, 28), np.uint8)
    job = EncodeJob("parquet", Encoder(file, workers=3, batch_size=77))
    expected = job.encoder(images)
    sent = pickle.dumps(job)
    if there == "another model":
        onnx_models.save(onnx_models.encoder(seed=1), file.parent)
    elif there == "no model":
        file.write_bytes(b"no model")
    else:
        file.unlink()
    arrived = pickle.loads(sent)
    assert isinstance(arrived, EncodeJob)
    for found, value in zip(arrived.encoder(images), expected, strict=True):
        assert found.tobytes() == value.tobytes()
    assert arrived.arithmetic() == job.arithmetic()
    assert (arrived.about, arrived.metadata, arrived.operations) == (job.about, job.metadata, job.operations)
    assert (arrived.encoder.workers, arrived.encoder.batch_size) == (3, 77)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (
            lambda file: onnx_models.save(onnx_models.encoder(seed=1), file.parent),
            "has changed since it was opened; run",
        ),
        (lambda file: file.unlink(), "was not found"),
    ],
    ids=["another model", "no file"],
)
def test_a_model_that_has_changed_since_it_was_opened_is_not_sent(
    change: Callable[[Path], object], complaint: str, tmp_path: Path
) -> None:
    file = onnx_models.save(onnx_models.encoder(), tmp_path / "encoder") / "model.onnx"
    job = EncodeJob("parquet", Encoder(file))
    change(file)
    with pytest.raises(ModelError, match=rf"{file} {complaint}"):
        pickle.dumps(job)


def test_the_arithmetic_of_another_model_is_another(encoder: Encoder, tmp_path: Path) -> None:
    other = Encoder(onnx_models.save(onnx_models.encoder(seed=1), tmp_path))
    same = Encoder(encoder.path, workers=1, batch_size=7)
    assert EncodeJob("parquet", encoder).arithmetic() == EncodeJob("parquet", same).arithmetic()
    assert EncodeJob("parquet", encoder).arithmetic() != EncodeJob("parquet", other).arithmetic()


def test_stretches_cover_every_row_once() -> None:
    assert list(stretches(4096, 12_000)) == [(4096, 8192), (8192, 12_000)]
    assert list(stretches(5, 5)) == []
