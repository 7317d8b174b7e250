"""A part is made in another process as the engine makes it here."""

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
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
from pipeline.jobs.reconstruct import ReconstructJob, reconstruct
from pipeline.jobs.target import open_target
from pipeline.sources.images import open_images
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
    return [
        prior(9000, 7, 2),
        mixture(folder / "mixture", 9000, 7, 2),
        QuantileGrid(30, 2),
        open_latents(folder / "z.npy", 2, 400),
    ]


def test_latents_that_are_sent_are_opened_where_they_arrive(tmp_path: Path) -> None:
    for source in latent_sources(tmp_path):
        arrived = pickle.loads(pickle.dumps(source))
        assert (arrived.name, arrived.count, arrived.state()) == (source.name, source.count, source.state())
        assert arrived.read(100, 300)().z.tobytes() == source.read(100, 300)().z.tobytes()


def test_a_job_that_arrives_where_its_model_is_another_is_refused(encoder: Encoder, tmp_path: Path) -> None:
    file = onnx_models.save(onnx_models.encoder(), tmp_path / "encoder")
    sent = pickle.dumps(EncodeJob("parquet", Encoder(file)))
    onnx_models.save(onnx_models.encoder(seed=1), tmp_path / "encoder")
    with pytest.raises(ModelError, match=r"is another file here than where the job was started"):
        pickle.loads(sent)


def test_stretches_cover_every_row_once() -> None:
    assert list(stretches(4096, 12_000)) == [(4096, 8192), (8192, 12_000)]
    assert list(stretches(5, 5)) == []
