"""Test vectors and models are read as the onnx package reads them, without it; nothing else than tensors passes."""

import contextlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from pipeline.errors import FormatError
from pipeline.inference.tensor_file import HOLDERS, find_external_tensors, read_tensor
from tests import onnx_models

SHAPES = array_shapes(min_dims=0, max_dims=4, min_side=1, max_side=5)
ARRAYS = st.one_of(arrays(np.float32, SHAPES), arrays(np.uint8, SHAPES))
UNHURRIED = settings(deadline=None)  # a busy disk is no failure
GOOD = numpy_helper.from_array(np.arange(6, dtype=np.float32).reshape(2, 3), "z")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One file for all the examples of a property."""
    return tmp_path_factory.mktemp("tensor") / "input_0.pb"


def changed(**fields: object) -> bytes:
    tensor = TensorProto()
    tensor.CopyFrom(GOOD)
    for name, value in fields.items():
        tensor.ClearField(name)
        if isinstance(value, list):
            getattr(tensor, name).extend(value)
        elif value is not None:
            setattr(tensor, name, value)
    return tensor.SerializeToString()


@UNHURRIED
@given(array=ARRAYS, name=st.text(max_size=5))
def test_what_onnx_writes_is_read_back(path: Path, array: NDArray[np.generic], name: str) -> None:
    path.write_bytes(numpy_helper.from_array(array, name).SerializeToString())
    found_name, found = read_tensor(path)
    assert found_name == name
    assert found.dtype == array.dtype
    assert found.shape == array.shape
    assert found.tobytes() == array.tobytes()


@UNHURRIED
@given(array=ARRAYS)
def test_typed_data_are_read_as_raw_data(path: Path, array: NDArray[np.generic]) -> None:
    kind = helper.np_dtype_to_tensor_dtype(array.dtype)
    path.write_bytes(helper.make_tensor("z", kind, array.shape, array.ravel().tolist()).SerializeToString())
    np.testing.assert_array_equal(read_tensor(path)[1], array)


def test_a_tensor_without_rows_has_none(path: Path) -> None:
    path.write_bytes(numpy_helper.from_array(np.zeros((0, 28, 28), np.uint8)).SerializeToString())
    assert read_tensor(path)[1].shape == (0, 28, 28)


@UNHURRIED
@given(array=ARRAYS, share=st.floats(0, 1, exclude_max=True))
def test_any_truncation_is_refused(path: Path, array: NDArray[np.generic], share: float) -> None:
    content = numpy_helper.from_array(array, "z").SerializeToString()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(FormatError, match="is not a tensor of float32 or uint8"):
        read_tensor(path)


@settings(deadline=None, max_examples=500)
@given(content=st.binary(max_size=60))
def test_garbage_is_refused_and_nothing_else_happens(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(FormatError) as refusal:
        read_tensor(path)
    assert "\n" not in str(refusal.value)


@settings(deadline=None, max_examples=500)
@given(data=st.data(), array=ARRAYS)
def test_an_altered_tensor_is_read_or_refused(path: Path, data: st.DataObject, array: NDArray[np.generic]) -> None:
    content = bytearray(numpy_helper.from_array(array, "z").SerializeToString())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        name, found = read_tensor(path)
    except FormatError as error:
        assert "\n" not in str(error)
        return
    same = onnx.load_tensor(path)
    assert found.tobytes() == numpy_helper.to_array(same).tobytes()
    assert (name, found.shape) == (same.name, tuple(same.dims))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "its data type has the number 0"),
        (b"\x0b", "a field has the wire type 3"),
        (b"\x02", "a field has the number 0"),
        (b"\xff" * 11, "an integer of more than 64 bits"),
        (changed(data_type=TensorProto.DOUBLE), "its data type has the number 11, expected 1 or 2"),
        (changed(dims=[3, 3]), r"declares the shape \[3, 3\] and holds 6 values"),
        (changed(dims=[-2, -3]), "declares the shape"),
        (changed(dims=[0, 2**62, 2**62], raw_data=b""), "too big|dimension"),
        (changed(dims=[1] * 99, raw_data=b"1234"), "dimension"),
        (changed(raw_data=b"12345"), "holds 5 bytes"),
        (changed(raw_data=None), "holds 0 values"),
        (changed(float_data=[1] * 6), "says something twice"),
        (changed(int64_data=[1] * 6), "has the field 7 of wire type 2"),
        (GOOD.SerializeToString() * 2, "says something twice"),
        (changed(data_type=2, raw_data=None, int32_data=[1, 2, 3, 4, 5, 256]), "holds 256, which is no uint8"),
        (changed(data_type=2, raw_data=None, int32_data=[1, 2, 3, 4, 5, -1]), "which is no uint8"),
        (changed(raw_data=None, data_location=TensorProto.EXTERNAL), "its data lie in another file"),
        (changed(external_data=[onnx.StringStringEntryProto(key="location", value="a")]), "lie in another file"),
        (GOOD.SerializeToString().replace(b"\x01z", b"\x01\xff"), "utf-8"),
    ],
)
def test_the_message_says_what_is_wrong(path: Path, content: bytes, reason: str) -> None:
    path.write_bytes(content)
    with pytest.raises(FormatError, match=f"input_0.pb is not a tensor of float32 or uint8: .*(?:{reason})"):
        read_tensor(path)


def test_the_places_of_tensors_are_those_of_onnx() -> None:
    """Every message of a model that may hold a tensor, however deep, by the descriptors of the onnx package."""
    leads = {"TensorProto"}
    waiting, messages = [onnx.ModelProto.DESCRIPTOR], {}
    while waiting:
        message = waiting.pop()
        if message.name not in messages:
            messages[message.name] = {f.number: f.message_type for f in message.fields if f.message_type}
            waiting += messages[message.name].values()
    for _ in messages:
        leads |= {name for name, fields in messages.items() if any(type_.name in leads for type_ in fields.values())}
    assert {
        name: {number: type_.name for number, type_ in messages[name].items() if type_.name in leads}
        for name in leads - {"TensorProto"}
    } == HOLDERS


def external(model: onnx.ModelProto, tensor: TensorProto) -> bytes:
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")
    return model.SerializeToString()


def in_a_branch() -> bytes:
    """The constant of the branch of an If within a branch of an If."""
    model, inner, outer = onnx_models.decoder(), TensorProto(name="deep"), None
    for name in ("inner", "outer"):
        node = outer or helper.make_node("Constant", [], ["x"], value=inner)
        outer = helper.make_node("If", ["c"], ["x"], then_branch=helper.make_graph([node], name, [], []))
    assert outer is not None
    model.graph.node.append(outer)
    constant = model.graph.node[-1].attribute[0].g.node[0].attribute[0].g.node[0].attribute[0].t
    return external(model, constant)


def in_a_sparse_tensor() -> bytes:
    model = onnx_models.decoder()
    sparse = model.graph.sparse_initializer.add()
    sparse.indices.name = "deep"
    return external(model, sparse.indices)


def in_an_initializer() -> bytes:
    model = onnx_models.decoder()
    model.graph.initializer[-1].name = "deep"
    return external(model, model.graph.initializer[-1])


@pytest.mark.parametrize("write", [in_an_initializer, in_a_branch, in_a_sparse_tensor])
def test_external_data_are_found_wherever_they_are(write: Callable[[], bytes]) -> None:
    assert find_external_tensors(write()) == [("'deep'", "../../etc/passwd")]


@pytest.mark.parametrize(
    ("entries", "file"),
    [
        ([("offset", "0"), ("location", "weights.bin"), ("length", "8")], "weights.bin"),
        ([("location", "a"), ("location", "b")], ""),
        ([("offset", "0")], ""),
        ([], ""),
    ],
)
def test_the_file_of_external_data_is_the_one_that_is_named(entries: list[tuple[str, str]], file: str) -> None:
    model = onnx_models.decoder()
    model.graph.initializer[0].name, model.graph.initializer[0].data_location = "w", TensorProto.EXTERNAL
    for key, value in entries:
        model.graph.initializer[0].external_data.add(key=key, value=value)
    assert find_external_tensors(model.SerializeToString()) == [("'w'", file)]


def test_a_model_that_holds_its_data_has_none() -> None:
    assert find_external_tensors(onnx_models.encoder().SerializeToString()) == []


@UNHURRIED
@given(content=st.binary(max_size=60))
def test_a_model_of_garbage_is_refused_or_has_no_tensors(content: bytes) -> None:
    with contextlib.suppress(FormatError):
        assert find_external_tensors(content) == []
