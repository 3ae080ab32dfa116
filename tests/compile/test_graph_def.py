"""Frozen TensorFlow graphs, written here byte by byte."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from compile.graph_def import float_constants


def varint(value: int) -> bytes:
    low, rest = value & 0x7F, value >> 7
    return bytes([low | 0x80]) + varint(rest) if rest else bytes([low])


def field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def constant(name: bytes, values: np.ndarray, dtype: int) -> bytes:
    """A NodeDef of op Const."""
    shape = b"".join(field(2, field(1, extent)) for extent in values.shape)
    tensor = field(1, dtype) + field(2, shape) + field(4, values.tobytes())
    entry = field(1, b"value") + field(2, field(8, tensor))
    other = field(1, b"dtype") + field(2, field(6, dtype))
    return field(1, name) + field(2, b"Const") + field(5, other) + field(5, entry)


def graph(*nodes: bytes) -> bytes:
    fixed = varint(9 << 3 | 5) + bytes(4) + varint(10 << 3 | 1) + bytes(8)
    return b"".join(field(1, node) for node in nodes) + field(4, field(1, 27)) + fixed


def test_float_constants_are_read_by_name(tmp_path: Path) -> None:
    weights = np.arange(6, dtype=np.float32).reshape(2, 1, 3)
    file = tmp_path / "graph.pb"
    file.write_bytes(
        graph(
            constant(b"a/weights", weights, 1),
            field(1, b"a/read") + field(2, b"Identity") + field(3, b"a/weights"),
            constant(b"a/shape", np.array([2, 3], np.int32), 3),
            constant(b"long", np.zeros(300, np.float32), 1),
        )
    )
    found = float_constants(file)
    assert sorted(found) == ["a/weights", "long"]
    assert found["a/weights"].dtype == np.float32 and np.array_equal(found["a/weights"], weights)
    assert found["long"].shape == (300,)


GRAPH = graph(constant(b"a", np.zeros(3, np.float32), 1))


@pytest.mark.parametrize("data", [GRAPH[:-5], b"\xff" * 9, GRAPH + b"\x0b"])
def test_what_is_no_graph_is_refused(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "graph.pb"
    file.write_bytes(data)
    with pytest.raises(ValueError, match=r"after its message|is unknown"):
        float_constants(file)
