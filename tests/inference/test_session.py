import hashlib
import os
import threading
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper

from pipeline.errors import FormatError, ModelError
from pipeline.inference import Decoder, Encoder
from pipeline.inference.session import cores, map_ordered
from tests import onnx_models


def assert_close(found: NDArray[np.float32], expected: NDArray[np.float32]) -> None:
    """Equal but for the order in which float32 sums of 784 products are taken."""
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def draw(latent_dim: int, count: int = 4096) -> NDArray[np.float32]:
    return np.random.default_rng(2).standard_normal((count, latent_dim), np.float32)


@pytest.mark.parametrize("latent_dim", [1, 2, 20])
def test_encoder_is_the_network_in_numpy(latent_dim: int, images: NDArray[np.uint8], tmp_path: Path) -> None:
    model = onnx_models.encoder(latent_dim)
    encoder = Encoder(onnx_models.save(model, tmp_path))
    z_mean, z_log_var = encoder(images)
    expected_mean, expected_log_var = onnx_models.encode_in_numpy(model, images)
    assert encoder.latent_dim == latent_dim
    assert z_mean.dtype == z_log_var.dtype == np.float32
    assert_close(z_mean, expected_mean)
    assert_close(z_log_var, expected_log_var)


@pytest.mark.parametrize("latent_dim", [1, 2, 20])
def test_decoder_is_the_network_in_numpy(latent_dim: int, tmp_path: Path) -> None:
    model = onnx_models.decoder(latent_dim)
    decoder = Decoder(onnx_models.save(model, tmp_path))
    image = decoder(draw(latent_dim))
    assert decoder.latent_dim == latent_dim
    assert image.dtype == np.float32
    assert_close(image, onnx_models.decode_in_numpy(model, draw(latent_dim)))


def test_a_model_opens_as_its_file_or_its_folder(tmp_path: Path) -> None:
    folder = onnx_models.save(onnx_models.encoder(), tmp_path)
    by_folder, by_file = Encoder(folder), Encoder(str(folder / "model.onnx"))
    digest = hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest()
    assert by_folder.path == by_file.path
    assert by_folder.sha256 == by_file.sha256 == digest


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("batch_size", [1, 7, 512, 4096])
def test_results_are_equal_to_the_byte_for_every_batch_size_and_number_of_workers(
    batch_size: int, workers: int, encoder: Encoder, decoder: Decoder, images: NDArray[np.uint8]
) -> None:
    z = draw(2)
    starts = range(0, 4096, batch_size)
    encoded = map_ordered(lambda start: encoder(images[start : start + batch_size]), starts, workers)
    decoded = map_ordered(lambda start: decoder(z[start : start + batch_size]), starts, workers)
    for pieces, whole in zip(zip(*encoded, strict=True), encoder(images), strict=True):
        assert np.concatenate(pieces).tobytes() == whole.tobytes()
    assert np.concatenate(list(decoded)).tobytes() == decoder(z).tobytes()


def test_no_rows_give_no_rows(encoder: Encoder, decoder: Decoder) -> None:
    z_mean, z_log_var = encoder(np.zeros((0, 28, 28), np.uint8))
    assert z_mean.shape == z_log_var.shape == (0, 2)
    assert decoder(z_mean).shape == (0, 28, 28)


@pytest.mark.parametrize(
    ("images", "found"),
    [
        (np.zeros((2, 28, 28), np.float32), "float32[2, 28, 28]"),
        (np.zeros((2, 784), np.uint8), "uint8[2, 784]"),
        (np.zeros((28, 28), np.uint8), "uint8[28, 28]"),
    ],
)
def test_encoder_refuses_other_arrays(images: NDArray[np.uint8], found: str, encoder: Encoder) -> None:
    with pytest.raises(FormatError) as refusal:
        encoder(images)
    assert str(refusal.value) == f"images are {found}, expected uint8[n, 28, 28]"


@pytest.mark.parametrize(
    ("z", "found"),
    [
        (np.zeros((4, 2), np.float64), "float64[4, 2]"),
        (np.zeros((4, 3), np.float32), "float32[4, 3]"),
        (np.zeros(2, np.float32), "float32[2]"),
    ],
)
def test_decoder_refuses_other_arrays(z: NDArray[np.float32], found: str, decoder: Decoder) -> None:
    with pytest.raises(FormatError) as refusal:
        decoder(z)
    assert str(refusal.value) == f"latents are {found}, expected float32[n, 2]"


def missing(path: Path) -> None:
    """No file at all."""


def text(path: Path) -> None:
    path.write_text("not a model\n")


def empty(path: Path) -> None:
    path.touch()


def truncated(path: Path) -> None:
    content = onnx_models.encoder().SerializeToString()
    path.write_bytes(content[: len(content) // 2])


def decoder_instead(path: Path) -> None:
    onnx.save(onnx_models.decoder(), path)


def float_input(path: Path) -> None:
    model = onnx_models.encoder()
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT
    onnx.save(model, path)


def other_output_name(path: Path) -> None:
    model = onnx_models.encoder()
    model.graph.output[0].name = model.graph.node[-2].output[0] = "mu"
    onnx.save(model, path)


def fixed_batch(path: Path) -> None:
    model = onnx_models.encoder()
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    onnx.save(model, path)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (missing, "was not found; expected an ONNX file or a folder with model.onnx"),
        (text, "is not a usable ONNX file"),
        (empty, "is not a usable ONNX file"),
        (truncated, "is not a usable ONNX file"),
        (decoder_instead, "is no encoder: input is z float32[batch, 2], expected image uint8[batch, 28, 28]"),
        (float_input, "is no encoder: input is image float32[batch, 28, 28], expected image uint8[batch, 28, 28]"),
        (other_output_name, "is no encoder: output is mu float32[batch, 2] and z_log_var float32[batch, 2], expected"),
        (fixed_batch, "is no encoder: input is image uint8[1, 28, 28], expected image uint8[batch, 28, 28]"),
    ],
)
def test_what_is_not_an_encoder_is_refused_in_one_line(
    write: Callable[[Path], None], message: str, tmp_path: Path
) -> None:
    file = tmp_path / "model.onnx"
    write(file)
    with pytest.raises(ModelError) as refusal:
        Encoder(tmp_path)
    assert str(refusal.value).startswith(f"{file} {message}")
    assert "\n" not in str(refusal.value)


def test_an_encoder_is_no_decoder(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"is no decoder: input is image uint8\[batch, 28, 28\], expected z float32"):
        Decoder(onnx_models.save(onnx_models.encoder(), tmp_path))


def test_latents_that_are_not_finite_are_the_models_fault(tmp_path: Path, images: NDArray[np.uint8]) -> None:
    model = onnx_models.set_constant(onnx_models.encoder(), "z_log_var_b", np.array([0, np.nan], np.float32))
    encoder = Encoder(onnx_models.save(model, tmp_path))
    with pytest.raises(ModelError, match=r"model\.onnx gives latents that are not finite"):
        encoder(images[:3])


def test_a_decoder_without_its_sigmoid_is_refused(tmp_path: Path) -> None:
    model = onnx_models.decoder()
    model.graph.node[3].op_type = "Identity"
    decoder = Decoder(onnx_models.save(model, tmp_path))
    with pytest.raises(ModelError, match=r"gives pixels from -\d.* to \d.*, expected 0 to 1"):
        decoder(draw(2))


def test_a_model_that_fails_on_some_batches_says_so_in_one_line(tmp_path: Path, images: NDArray[np.uint8]) -> None:
    """A bias that is looked up by the number of images, in a table of four."""
    model = onnx_models.encoder()
    table = onnx.numpy_helper.from_array(np.zeros((4, 2), np.float32), "table")
    model.graph.initializer.append(table)
    model.graph.node[-2].output[0] = "without_bias"
    model.graph.node.extend(
        [
            helper.make_node("Shape", ["image"], ["count"], end=1),
            helper.make_node("Gather", ["table", "count"], ["bias"]),
            helper.make_node("Add", ["without_bias", "bias"], ["z_mean"]),
        ]
    )
    encoder = Encoder(onnx_models.save(model, tmp_path))
    assert encoder(images[:3])[0].shape == (3, 2)
    with pytest.raises(ModelError, match=r"model\.onnx fails on a batch of 5: .*out of .*bounds") as failure:
        encoder(images[:5])
    assert "\n" not in str(failure.value)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system binds no process to processors")
def test_cores_are_those_that_the_process_may_use() -> None:
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert cores() == 1
    finally:
        os.sched_setaffinity(0, before)


@settings(deadline=None)
@given(st.lists(st.integers(0, 3)), st.integers(1, 4))
def test_map_ordered_keeps_the_order(delays: list[int], workers: int) -> None:
    def wait(item: tuple[int, int]) -> int:
        number, delay = item
        time.sleep(delay / 10_000)
        return number

    assert list(map_ordered(wait, enumerate(delays), workers)) == list(range(len(delays)))


@pytest.mark.parametrize("workers", [1, 2])
def test_map_ordered_works_side_by_side(workers: int) -> None:
    meeting = threading.Barrier(workers, timeout=10)  # opens only when so many calls run at once
    assert len(list(map_ordered(lambda _: meeting.wait(), range(2 * workers), workers))) == 2 * workers


@pytest.mark.parametrize("workers", [1, 3])
def test_map_ordered_reads_only_a_few_items_ahead(workers: int) -> None:
    taken = 0

    def endless() -> Iterator[int]:
        nonlocal taken
        while True:
            taken += 1
            yield taken

    for given_out, result in enumerate(map_ordered(lambda item: item, endless(), workers), 1):
        assert result == given_out
        assert taken - given_out <= 2 * workers
        if given_out == 100:
            break


def test_an_exception_in_the_middle_comes_out_and_stops_the_rest() -> None:
    called: list[int] = []
    results: list[float] = []

    def invert(item: int) -> float:
        called.append(item)
        return 1 / (item - 5)

    with pytest.raises(ZeroDivisionError):
        results.extend(map_ordered(invert, range(1000), 2))
    assert results == [1 / (item - 5) for item in range(5)]
    assert max(called) <= 5 + 2 * 2


def test_who_stops_reading_early_does_not_wait_for_what_has_not_begun() -> None:
    called: list[int] = []

    def work(item: int) -> None:
        called.append(item)
        time.sleep(0.2 * item)

    results = map_ordered(work, range(1000), 1)
    next(results)
    assert isinstance(results, Generator)
    results.close()
    assert set(called) <= {0, 1}  # 1 may have begun; 2 had been taken, too
