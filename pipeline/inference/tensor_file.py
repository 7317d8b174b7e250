"""Tensors as ONNX stores them, read with NumPy alone: where a bundle is verified, no onnx package need be.

A message (https://protobuf.dev/programming-guides/encoding/) is a row of fields, each a tag of number and wire type,
and a value. The numbers are those of https://github.com/onnx/onnx/blob/main/onnx/onnx.proto.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import FormatError

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types; the other two, of groups, are in no ONNX file
_WIDTH = {_FIXED64: 8, _FIXED32: 4}

# Fields of TensorProto as (number, wire type).
_DIMS, _PACKED_DIMS, _DATA_TYPE = (1, _VARINT), (1, _BYTES), (2, _VARINT)
_FLOATS, _PACKED_FLOATS = (4, _FIXED32), (4, _BYTES)
_INTEGERS, _PACKED_INTEGERS = (5, _VARINT), (5, _BYTES)
_NAME, _RAW_DATA, _DOC_STRING = (8, _BYTES), (9, _BYTES), (12, _BYTES)
_EXTERNAL_DATA, _DATA_LOCATION = (13, _BYTES), (14, _VARINT)
_ENTRY_KEY, _ENTRY_VALUE = (1, _BYTES), (2, _BYTES)  # of StringStringEntryProto

_SHAPE = {_DIMS, _PACKED_DIMS}
_ONCE = {_DATA_TYPE, _NAME, _RAW_DATA, _DOC_STRING, _DATA_LOCATION}
_FLOAT32, _UINT8 = 1, 2
_DATA = {_FLOAT32: {_RAW_DATA, _FLOATS, _PACKED_FLOATS}, _UINT8: {_RAW_DATA, _INTEGERS, _PACKED_INTEGERS}}

# Where messages of a model hold tensors, and other messages that do: number of the field and what it is.
HOLDERS = {
    "ModelProto": {7: "GraphProto", 20: "TrainingInfoProto", 25: "FunctionProto"},
    "TrainingInfoProto": {1: "GraphProto", 2: "GraphProto"},
    "GraphProto": {1: "NodeProto", 5: "TensorProto", 15: "SparseTensorProto"},
    "FunctionProto": {7: "NodeProto", 11: "AttributeProto"},
    "NodeProto": {5: "AttributeProto"},
    "AttributeProto": {
        5: "TensorProto",
        6: "GraphProto",
        10: "TensorProto",
        11: "GraphProto",
        22: "SparseTensorProto",
        23: "SparseTensorProto",
    },
    "SparseTensorProto": {1: "TensorProto", 2: "TensorProto"},
}

Values = NDArray[np.float32] | NDArray[np.uint8]


class _Field(NamedTuple):
    """A field's value: `integer` of a varint, `content` of the other wire types."""

    key: tuple[int, int]
    integer: int
    content: memoryview


def read_tensor(path: Path) -> tuple[str, Values]:
    """Read a file of one serialized TensorProto, such as `input_0.pb` of a test data set.

    Returns:
        The tensor's name and its values, float32 or uint8.

    Raises:
        FormatError: anything but one whole tensor of these types that holds its own data.
    """
    try:
        return _parse_tensor(memoryview(path.read_bytes()))
    except FormatError as error:
        raise FormatError(f"{path} is not a tensor of float32 or uint8: {error}") from error


def find_external_tensors(model: bytes) -> list[tuple[str, str]]:
    """The quoted names of the tensors that a serialized ModelProto keeps in other files, each with the file's name.

    That is as the model has it, relative to its folder; empty if there is none, or several.

    Raises:
        FormatError: not a protobuf message.
    """
    found = []
    waiting = [("ModelProto", memoryview(model))]
    while waiting:
        kind, content = waiting.pop()
        for field in _fields(content):
            number, wire = field.key
            holder = HOLDERS[kind].get(number) if wire == _BYTES else None
            if holder == "TensorProto":
                name = _external_name(field.content)
                if name is not None:
                    found.append((name, _external_file(field.content)))
            elif holder is not None:
                waiting.append((holder, field.content))
    return found


def _external_name(tensor: memoryview) -> str | None:
    """The quoted name of a tensor whose data lie in another file; None if it holds them."""
    fields = {field.key: field for field in _fields(tensor)}
    if _EXTERNAL_DATA not in fields and (_DATA_LOCATION not in fields or fields[_DATA_LOCATION].integer == 0):
        return None
    return ascii(bytes(fields[_NAME].content).decode(errors="replace") if _NAME in fields else "")


def _external_file(tensor: memoryview) -> str:
    """The name of the file in which the data of a tensor lie; empty unless there is exactly one."""
    files = []
    for field in _fields(tensor):
        if field.key == _EXTERNAL_DATA:
            entry = [(part.key, bytes(part.content)) for part in _fields(field.content)]
            if (_ENTRY_KEY, b"location") in entry:
                files += [value for key, value in entry if key == _ENTRY_VALUE]
    return files[0].decode(errors="replace") if len(files) == 1 else ""


def _parse_tensor(content: memoryview) -> tuple[str, Values]:
    if _external_name(content) is not None:
        raise FormatError("its data lie in another file")
    found: dict[tuple[int, int], list[_Field]] = {}
    for field in _fields(content):
        found.setdefault(field.key, []).append(field)
    data_type = found[_DATA_TYPE][0].integer if _DATA_TYPE in found else 0
    if data_type not in _DATA:
        raise FormatError(f"its data type has the number {data_type}, expected {_FLOAT32} or {_UINT8}")
    foreign = found.keys() - _ONCE - _SHAPE - _DATA[data_type]
    if foreign:
        raise FormatError("it has the field {} of wire type {}".format(*min(foreign)))
    both_ways = any(len(keys & found.keys()) > 1 for keys in (_SHAPE, _DATA[data_type]))
    if both_ways or any(len(found[key]) > 1 for key in _ONCE & found.keys()):
        raise FormatError("it says something twice")
    shape = _integers(found, _DIMS, _PACKED_DIMS)
    values = _values(found, data_type)
    if math.prod(shape) != len(values):
        raise FormatError(f"it declares the shape {shape} and holds {len(values):,} values")
    try:
        name = bytes(found[_NAME][0].content).decode() if _NAME in found else ""
        return name, values.reshape(shape)
    except ValueError as error:  # a name that is not UTF-8, more or larger dimensions than NumPy has
        raise FormatError(str(error)) from error


def _values(found: dict[tuple[int, int], list[_Field]], data_type: int) -> Values:
    """The elements in a row, from the one field that has them."""
    if data_type == _UINT8 and _RAW_DATA not in found:
        integers = _integers(found, _INTEGERS, _PACKED_INTEGERS)
        if max(integers, default=0) > 255:
            raise FormatError(f"it holds {max(integers):,}, which is no uint8")
        return np.array(integers, np.uint8)
    raw = b"".join(field.content for key in _DATA[data_type] & found.keys() for field in found[key])
    if data_type == _UINT8:
        return np.frombuffer(raw, np.uint8)
    if len(raw) % 4:
        raise FormatError(f"it holds {len(raw):,} bytes, which are no float32")
    return np.frombuffer(raw, "<f4").astype(np.float32, copy=False)


def _integers(
    found: dict[tuple[int, int], list[_Field]], single: tuple[int, int], packed: tuple[int, int]
) -> list[int]:
    """A repeated field of integers, one by one or packed."""
    integers = [field.integer for field in found.get(single, [])]
    for field in found.get(packed, []):
        place = 0
        while place < len(field.content):
            integer, place = _varint(field.content, place)
            integers.append(integer)
    return integers


def _fields(message: memoryview) -> Iterator[_Field]:
    """The fields of a serialized message, in their order."""
    place = 0
    while place < len(message):
        tag, place = _varint(message, place)
        number, wire = tag >> 3, tag & 7
        if not 0 < number < 2**29:
            raise FormatError(f"not a protobuf message: a field has the number {number}")
        if wire == _VARINT:
            integer, place = _varint(message, place)
            yield _Field((number, wire), integer, message[:0])
            continue
        if wire == _BYTES:
            size, place = _varint(message, place)
        elif wire in _WIDTH:
            size = _WIDTH[wire]
        else:
            raise FormatError(f"not a protobuf message: a field has the wire type {wire}")
        if size > len(message) - place:
            raise FormatError("truncated, or not a protobuf message")
        yield _Field((number, wire), 0, message[place : place + size])
        place += size


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    """The unsigned integer of at most 64 bits at `place`, and the place after it."""
    value = 0
    for shift in range(0, 70, 7):
        if place == len(message):
            raise FormatError("truncated, or not a protobuf message")
        byte = message[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & (2**64 - 1), place
    raise FormatError("not a protobuf message: an integer of more than 64 bits")
