"""The constants of a frozen TensorFlow graph, read without TensorFlow.

A graph is a protocol buffer (protobuf.dev, Encoding): fields follow one another, each a number and a wire
type, then its value. Numbers of fields are those of tensorflow/core/framework: graph.proto, node_def.proto,
attr_value.proto, tensor.proto and tensor_shape.proto.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Value = int | memoryview

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED = {_FIXED64: 8, _FIXED32: 4}
_DT_FLOAT = 1


def float_constants(path: Path) -> dict[str, NDArray[np.float32]]:
    """The float32 constants of a GraphDef that lie there as bytes, by the names of their nodes.

    Raises ValueError when the file is no protocol buffer.
    """
    found = {}
    for number, node in _fields(memoryview(path.read_bytes())):
        if number == 1:  # GraphDef.node
            name, value = _constant(node)
            if value is not None:
                found[name] = value
    return found


def _constant(node: Value) -> tuple[str, NDArray[np.float32] | None]:
    """The name of a node, and the value of its attribute `value`, if it has one."""
    name, value = "", None
    for number, field in _fields(node):
        if number == 1:  # NodeDef.name
            name = _text(field)
        elif number == 5:  # NodeDef.attr, a map: each entry has a key and a value
            entry = dict(_fields(field))
            tensor = (
                dict(_fields(entry[2])).get(8) if _text(entry[1]) == "value" else None
            )  # AttrValue.tensor
            if tensor is not None:
                value = _floats(tensor)
    return name, value


def _floats(tensor: Value) -> NDArray[np.float32] | None:
    """A TensorProto of float32 with `tensor_content`; None for any other."""
    fields = dict(_fields(tensor))
    content = fields.get(4)
    if fields.get(1) != _DT_FLOAT or not isinstance(content, memoryview):
        return None
    shape = [int(dict(_fields(axis)).get(1, 0)) for number, axis in _fields(fields[2]) if number == 2]
    return np.frombuffer(content, "<f4").reshape(shape)


def _fields(message: Value) -> Iterator[tuple[int, Value]]:
    """Number and value of each field."""
    if isinstance(message, int):
        raise ValueError("a message was expected")
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        number, wire = key >> 3, key & 7
        if wire == _VARINT:
            value, at = _varint(message, at)
            yield number, value
            continue
        if wire == _BYTES:
            length, at = _varint(message, at)
        elif wire in _FIXED:
            length = _FIXED[wire]
        else:
            raise ValueError(f"wire type {wire} is unknown")
        if at + length > len(message):
            raise ValueError("a field ends after its message")
        yield number, message[at : at + length]
        at += length


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """The number at `at`, seven bits in a byte, and where it ends."""
    value = shift = 0
    while at < len(message):
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
    raise ValueError("a number ends after its message")


def _text(value: Value) -> str:
    if isinstance(value, int):
        raise ValueError("a text was expected")
    return bytes(value).decode()
