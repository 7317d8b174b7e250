"""Images to scores: from arrays, whatever their number, and what is wrong with a model or its file."""

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from pipeline.errors import FormatError, ModelError
from pipeline.inference import Encoder, Scorer
from pipeline.inference.session import Scores, check_pair
from tests import onnx_models

ROWS = 5001  # more than one thread takes at a time, and no multiple of anything
Pixels = NDArray[np.uint8]


@pytest.fixture(scope="module")
def scorer(tmp_path_factory: pytest.TempPathFactory) -> Scorer:
    return Scorer(onnx_models.save(onnx_models.scorer(), tmp_path_factory.mktemp("scorer")))


@pytest.mark.parametrize("latent_dim", [1, 2, 20])
def test_scores_are_those_of_numpy(latent_dim: int, images: Pixels, tmp_path: Path) -> None:
    scorer = Scorer(str(onnx_models.save(onnx_models.scorer(latent_dim), tmp_path)))
    found = scorer(images)
    assert isinstance(found, Scores)
    assert found._fields == ("excess", "reconstruction", "kl", "score")
    for values, expected in zip(found, onnx_models.score_in_numpy(images, latent_dim), strict=True):
        assert (values.dtype, values.shape) == (np.float32, (4096,))
        np.testing.assert_allclose(values, expected, rtol=1e-4, atol=1e-3)


def test_no_images_have_no_scores(scorer: Scorer) -> None:
    assert [values.shape for values in scorer(np.zeros((0, 28, 28), np.uint8))] == [(0,)] * 4


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("batch_size", [1, 7, 512, 4096])
def test_scores_are_equal_to_the_byte_for_every_batch_size_and_number_of_workers(
    batch_size: int, workers: int, scorer: Scorer, images: Pixels
) -> None:
    images = np.resize(images, (ROWS, 28, 28))
    found = Scorer(scorer.path, batch_size=batch_size, workers=workers)(images)
    assert [values.tobytes() for values in found] == [values.tobytes() for values in scorer(images)]


@pytest.mark.parametrize(
    ("images", "found"),
    [
        (np.zeros((2, 28, 28), np.float32), "float32[2, 28, 28]"),
        (np.zeros((2, 784), np.uint8), "uint8[2, 784]"),
        (np.zeros((28, 28), np.uint8), "uint8[28, 28]"),
    ],
)
def test_other_arrays_are_refused(images: Pixels, found: str, scorer: Scorer) -> None:
    with pytest.raises(FormatError) as refusal:
        scorer(images)
    assert str(refusal.value) == f"images are {found}, expected uint8[n, 28, 28]"


def test_what_is_usual_makes_a_percentile(images: Pixels, tmp_path: Path) -> None:
    scored = onnx_models.score_in_numpy(images)[3]
    scorer = Scorer(onnx_models.save(onnx_models.scorer(usual=scored), tmp_path))
    assert scorer.usual is not None
    assert scorer.usual.images == 4096
    found = scorer.usual.percentile(scorer(images).score)
    expected = 100 * scored.argsort().argsort() / 4095
    np.testing.assert_allclose(found, expected, atol=0.2)


def test_a_file_that_does_not_say_what_is_usual_scores_all_the_same(
    scorer: Scorer, images: Pixels, tmp_path: Path
) -> None:
    model = onnx_models.scorer()
    del model.metadata_props[:]
    silent = Scorer(onnx_models.save(model, tmp_path))
    assert silent.usual is None
    assert silent(images[:5]).excess.tobytes() == scorer(images[:5]).excess.tobytes()


@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0, -1e-9])
@pytest.mark.parametrize("name", ["reconstruction", "kl", "excess", "score"])
def test_scores_that_are_no_numbers_or_below_0_are_the_models_fault(
    name: str, value: float, images: Pixels, tmp_path: Path
) -> None:
    model = onnx_models.scorer()
    (maker,) = (node for node in model.graph.node if name in node.output)
    maker.output[0] = "well"
    for node in model.graph.node:
        node.input[:] = ["well" if read == name else read for read in node.input]
    model.graph.initializer.append(numpy_helper.from_array(np.float32([value]), "value"))
    model.graph.node.append(helper.make_node("Mul", ["well", "nothing"], ["zeros"]))
    model.graph.initializer.append(numpy_helper.from_array(np.float32([0]), "nothing"))
    model.graph.node.append(helper.make_node("Add", ["zeros", "value"], [name]))
    scorer = Scorer(onnx_models.save(model, tmp_path))
    with pytest.raises(ModelError) as failure:
        scorer(images[:300])
    told = f"gives {name} that is not finite, or below 0; train and export it again"
    assert str(failure.value) == f"{scorer.path} {told}"


def encoder_instead(path: Path) -> None:
    onnx.save(onnx_models.encoder(), path)


def without_kl(path: Path) -> None:
    model = onnx_models.scorer()
    del model.graph.output[2]
    onnx.save(model, path)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (encoder_instead, "is no scorer: output is z_log_var float32[batch, 2] and z_mean float32[batch, 2], expected"),
        (without_kl, "is no scorer: output is excess float32[batch] and reconstruction float32[batch] and score"),
        (lambda path: path.write_text("no model"), "is not a usable ONNX file"),
        (lambda _: None, "was not found; expected an ONNX file or a folder with model.onnx"),
    ],
)
def test_what_is_no_scorer_is_refused_in_one_line(
    write: Callable[[Path], object], message: str, tmp_path: Path
) -> None:
    write(tmp_path / "model.onnx")
    with pytest.raises(ModelError) as refusal:
        Scorer(tmp_path)
    assert str(refusal.value).startswith(f"{tmp_path / 'model.onnx'} {message}")
    assert "\n" not in str(refusal.value)


def test_a_scorer_that_is_sent_is_the_same_one_where_it_arrives(scorer: Scorer, images: Pixels) -> None:
    arrived = pickle.loads(pickle.dumps(Scorer(scorer.path, batch_size=7, workers=1)))
    assert (arrived.batch_size, arrived.workers, arrived.sha256) == (7, 1, scorer.sha256)
    assert arrived.usual.lists() == scorer.usual.lists()  # type: ignore[union-attr]
    assert arrived(images[:20]).excess.tobytes() == scorer(images[:20]).excess.tobytes()


@pytest.mark.parametrize("latent_dim", [2, 5])
def test_a_scorer_pairs_with_halves_of_any_latents_unless_the_files_tell_of_two_models(
    latent_dim: int, tmp_path: Path
) -> None:
    """It does not say how many latents it has inside."""
    models = onnx_models.scorer(), onnx_models.encoder(latent_dim)
    for model, digest in zip(models, ("a" * 64, "b" * 64), strict=True):
        model.metadata_props.add(key="params_sha256", value=digest)
    scorer = Scorer(onnx_models.save(onnx_models.scorer(), tmp_path / "plain"))
    encoder = Encoder(onnx_models.save(models[1], tmp_path / "encoder"))
    check_pair(scorer, encoder)
    with pytest.raises(ModelError, match="are of two models: their params_sha256 is aaaaaaaaaaaa and bbbbbbbbbbbb"):
        check_pair(Scorer(onnx_models.save(models[0], tmp_path / "told")), encoder)
