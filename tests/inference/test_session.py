import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper

from pipeline.errors import BundleError, FormatError, ModelError
from pipeline.inference import Decoder, Encoder
from pipeline.inference.session import ROWS_PER_CALL, check_pair, to_bytes
from pipeline.shared.files import sha256
from pipeline.sources.rows import MAX_ROWS
from tests import onnx_models

ROWS = 5001  # more than one thread takes at a time, and no multiple of anything


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
    images, z = np.resize(images, (ROWS, 28, 28)), draw(2, ROWS)
    pieces = [slice(start, start + 300) for start in range(0, ROWS, 300)]
    how = {"batch_size": batch_size, "workers": workers}
    for whole, expected in zip(
        Encoder(encoder.path, **how)(images),
        zip(*(encoder(images[piece]) for piece in pieces), strict=True),
        strict=True,
    ):
        assert whole.tobytes() == np.concatenate(expected).tobytes()
    grey = np.concatenate([decoder(z[piece]) for piece in pieces])
    assert Decoder(decoder.path, **how)(z).tobytes() == grey.tobytes()
    assert Decoder(decoder.path, **how).pixels(z).tobytes() == to_bytes(grey).tobytes()


def test_a_view_that_is_not_contiguous_is_taken_as_it_reads(encoder: Encoder, images: NDArray[np.uint8]) -> None:
    view = images[:40:2, :, ::-1]
    assert encoder(view)[0].tobytes() == encoder(np.ascontiguousarray(view))[0].tobytes()


def test_no_rows_give_no_rows(encoder: Encoder, decoder: Decoder) -> None:
    z_mean, z_log_var = encoder(np.zeros((0, 28, 28), np.uint8))
    assert z_mean.shape == z_log_var.shape == (0, 2)
    assert decoder(z_mean).shape == decoder.pixels(z_mean).shape == (0, 28, 28)


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


@pytest.mark.parametrize("axis", ["N", "batch_size", None])
@pytest.mark.parametrize("given", ["N", "rows", None, 1])
def test_an_encoder_of_another_maker_is_one(
    axis: str | None, given: str | int | None, tmp_path: Path, images: NDArray[np.uint8], encoder: Encoder
) -> None:
    model = onnx_models.encoder()
    for tensors, size in ((model.graph.input, axis), (model.graph.output, given)):
        for tensor in tensors:
            rows = tensor.type.tensor_type.shape.dim[0]
            rows.Clear()
            if isinstance(size, int):
                rows.dim_value = size
            elif size is not None:
                rows.dim_param = size
    found = Encoder(onnx_models.save(model, tmp_path))(images[:300])
    assert all(np.array_equal(one, other) for one, other in zip(found, encoder(images[:300]), strict=True))


def test_a_model_that_gives_one_row_for_many_is_refused_and_not_repeated(
    tmp_path: Path, images: NDArray[np.uint8]
) -> None:
    model = onnx_models.encoder()
    model.graph.node.append(onnx.helper.make_node("ReduceMean", ["mean_of_each"], ["z_mean"], axes=[0], keepdims=1))
    model.graph.node[-3].output[0] = "mean_of_each"
    with pytest.raises(
        ModelError, match=r"gives z_mean as \[1, 2\] for a batch of 3; export it for batches of any size"
    ):
        Encoder(onnx_models.save(model, tmp_path))(images[:3])


def test_an_encoder_is_no_decoder(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"is no decoder: input is image uint8\[batch, 28, 28\], expected z float32"):
        Decoder(onnx_models.save(onnx_models.encoder(), tmp_path))


def test_latents_that_are_not_finite_are_the_models_fault(tmp_path: Path, images: NDArray[np.uint8]) -> None:
    model = onnx_models.set_constant(onnx_models.encoder(), "z_log_var_b", np.array([0, np.nan], np.float32))
    encoder = Encoder(onnx_models.save(model, tmp_path))
    with pytest.raises(ModelError, match=r"model\.onnx gives latents that are not finite"):
        encoder(images[:3])


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


def constant_decoder(folder: Path, *pixels: float) -> Decoder:
    """One whose images begin with these pixels, to the bit, whatever the latents."""
    model = onnx_models.decoder(1)
    model.graph.node[3].op_type = "Identity"  # was the sigmoid
    onnx_models.set_constant(model, "logits_w", np.zeros((onnx_models.UNITS, 784), np.float32))
    bias = np.full(784, 0.5, np.float32)
    bias[: len(pixels)] = pixels
    return Decoder(onnx_models.save(onnx_models.set_constant(model, "logits_b", bias), folder))


@settings(deadline=None, max_examples=25)
@given(levels=st.lists(st.floats(-0.49, 255.49).filter(lambda level: abs(level % 1 - 0.5) > 1e-3), min_size=1))
def test_pixels_slightly_out_of_range_are_rounded_into_it(
    levels: list[float], tmp_path_factory: pytest.TempPathFactory
) -> None:
    levels = levels[:784]
    decoder = constant_decoder(tmp_path_factory.mktemp("decoder"), *(level / 255 for level in levels))
    assert decoder.pixels(draw(1, 1)).reshape(-1)[: len(levels)].tolist() == [round(level) for level in levels]


@pytest.mark.parametrize("pixel", [0.0, -0.0, 1.0, 1e-45, -1e-45, 255.49 / 255, -0.49 / 255])
def test_pixels_at_the_edges_of_the_range_are_taken(pixel: float, tmp_path: Path) -> None:
    found = constant_decoder(tmp_path, pixel).pixels(draw(1, 1))
    assert found[0, 0, 0] == (255 if pixel > 0.5 else 0)


@pytest.mark.parametrize("pixel", [np.nan, -np.nan, np.inf, -np.inf, 1.1, -0.1, 255.51 / 255, -0.51 / 255])
def test_pixels_out_of_range_are_the_models_fault(pixel: float, tmp_path: Path) -> None:
    decoder = constant_decoder(tmp_path, 1, 0, pixel)
    for decode in (decoder, decoder.pixels):
        with pytest.raises(ModelError, match=r"model\.onnx gives pixels from \S+ to \S+, expected 0 to 1"):
            decode(draw(1, 3))


def test_to_bytes_gives_back_every_byte() -> None:
    levels = np.arange(256, dtype=np.uint8)
    assert to_bytes(levels.astype(np.float32) / np.float32(255)).tolist() == levels.tolist()


@given(st.floats(0, 1, width=32))
def test_to_bytes_is_the_nearest_level(grey: float) -> None:
    (level,) = to_bytes(np.array([grey], np.float32))
    assert abs(int(level) - 255 * grey) <= 0.5 + 1e-4  # float32 has 24 bits


def test_to_bytes_into_an_array_is_the_same() -> None:
    grey = np.random.default_rng(0).random((3, 28, 28), np.float32)
    expected, out = to_bytes(grey), np.empty((3, 28, 28), np.uint8)
    assert to_bytes(grey, out=out) is out
    assert out.tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("precision", "file"),
    [("float32", "model.onnx"), ("int8", "model_quantized.onnx"), ("fp16", "model_fp16.onnx")],
)
def test_precision_picks_the_variant_of_the_bundle(
    precision: str, file: str, good: Path, images: NDArray[np.uint8]
) -> None:
    encoder = Encoder(good / "encoder", precision=precision, provider="cpu")
    assert encoder.about() == {
        "sha256": sha256(good / "encoder" / file),
        "latent_dim": 2,
        "precision": precision,
        "provider": "cpu",
    }
    by_file = Encoder(good / "encoder" / file)
    assert encoder(images[:50])[0].tobytes() == by_file(images[:50])[0].tobytes()


def test_the_bundle_of_both_halves_serves_each(good: Path) -> None:
    assert Encoder(good, precision="int8").path == good / "encoder" / "model_quantized.onnx"
    assert Decoder(good, precision="fp16").path == good / "decoder" / "model_fp16.onnx"


def test_a_variant_that_the_bundle_lacks_is_refused_with_those_it_has(bundle: Path) -> None:
    models = json.loads((bundle / "decoder" / "manifest.json").read_text())["models"]
    del models["decoder"]["variants"]["int8"]
    onnx_models.write_manifest(bundle / "decoder", ["decoder"], models=models)
    with pytest.raises(BundleError, match=r"decoder holds the variants float32, fp16, not int8; choose one of them"):
        Decoder(bundle / "decoder", precision="int8")


def test_a_bundle_of_the_other_half_is_refused(good: Path) -> None:
    with pytest.raises(BundleError, match=r"encoder holds the encoder, expected the decoder"):
        Decoder(good / "encoder")


@pytest.mark.parametrize("name", ["", "model.onnx"])
def test_a_model_without_a_manifest_has_no_variants(name: str, tmp_path: Path) -> None:
    onnx_models.save(onnx_models.decoder(), tmp_path)
    with pytest.raises(ModelError, match=r"holds no manifest\.json that names its int8 variant; give a bundle"):
        Decoder(tmp_path / name, precision="int8")


def test_an_unknown_provider_is_refused_with_those_there_are(encoder: Encoder) -> None:
    with pytest.raises(ModelError, match=r"has no provider 'abacus' here, it has .*cpu.*; choose one of them or inst"):
        Encoder(encoder.path, provider="abacus")


@pytest.mark.parametrize(("value", "operations"), [("1212416", 1_212_416), ("many", None), ("", None)])
def test_operations_per_image_are_those_that_the_file_states(
    value: str, operations: int | None, tmp_path: Path
) -> None:
    model = onnx_models.decoder()
    model.metadata_props.add(key="operations_per_image", value=value)
    assert Decoder(onnx_models.save(model, tmp_path)).operations == operations


def test_operations_of_a_file_that_states_none_are_unknown(encoder: Encoder) -> None:
    assert encoder.operations is None


def test_a_model_of_the_other_role_is_refused_whatever_its_shapes(tmp_path: Path) -> None:
    model = onnx_models.encoder()
    model.metadata_props.add(key="role", value="decoder")
    with pytest.raises(ModelError, match=r"is no encoder: its metadata name the role 'decoder'"):
        Encoder(onnx_models.save(model, tmp_path))


def test_what_a_job_reads_at_once_is_computed_on_one_thread() -> None:
    """Else each of a job's threads would start threads of its own."""
    assert MAX_ROWS <= ROWS_PER_CALL


@pytest.mark.parametrize(
    ("encoder_says", "decoder_says", "refused"),
    [
        ({}, {}, ""),
        ({"params_sha256": "12ab"}, {}, ""),
        ({"params_sha256": "12ab", "data_sha256": "34"}, {"params_sha256": "12ab", "data_sha256": "34"}, ""),
        ({"params_sha256": "12ab"}, {"params_sha256": "12cd"}, "their params_sha256 is 12ab and 12cd"),
        ({"data_sha256": "34"}, {"data_sha256": "56"}, "their data_sha256 is 34 and 56"),
        ({"validation_negative_elbo": "153.2"}, {"validation_negative_elbo": "153.3"}, "elbo is 153.2 and 153.3"),
        (
            {"variant": "int8", "validation_negative_elbo": "153.2"},
            {"variant": "float32", "validation_negative_elbo": "153.3"},
            "",
        ),
    ],
)
def test_halves_pair_unless_their_files_tell_of_two_models(
    encoder_says: dict[str, str], decoder_says: dict[str, str], refused: str, tmp_path: Path
) -> None:
    first, second = onnx_models.encoder(), onnx_models.decoder()
    for model, says in ((first, encoder_says), (second, decoder_says)):
        onnx.helper.set_model_props(model, says)
    pair = Encoder(onnx_models.save(first, tmp_path / "e")), Decoder(onnx_models.save(second, tmp_path / "d"))
    if not refused:
        check_pair(*pair)
        return
    with pytest.raises(ModelError, match=refused) as error:
        check_pair(*pair)
    assert all(str(model.path) in str(error.value) for model in pair)
