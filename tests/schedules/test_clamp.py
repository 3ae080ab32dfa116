"""Clamps by bits give what float clamps do."""

import numpy as np
import pytest
import tvm
from hypothesis import given
from hypothesis import strategies as st
from tvm import te, tirx

from schedules.clamp import bound_bits, by_bits

SIZE = 16
FLOATS = st.lists(st.floats(width=32, allow_nan=False), min_size=SIZE, max_size=SIZE)


def clamp(low: float, high: float) -> tirx.PrimFunc:
    x = te.placeholder((SIZE,), "float32", name="x")
    bounds = tirx.const(low, "float32"), tirx.const(high, "float32")
    return te.create_prim_func([x, te.compute((SIZE,), lambda i: te.min(te.max(x[i], bounds[0]), bounds[1]))])


def compiled(low: float, high: float):
    function = clamp(low, high)
    function = function.with_body(by_bits(function.body)).with_attr("global_symbol", "main")
    return tvm.tirx.build(tvm.IRModule({"main": function}), target="llvm")["main"]


RELU6 = compiled(0.0, 6.0)
BETWEEN = compiled(0.5, 1e30)


@given(FLOATS)
def test_clamp_by_bits_is_numpys(values):
    x = np.array(values, "float32")
    for function, low, high in ((RELU6, 0.0, 6.0), (BETWEEN, 0.5, 1e30)):
        out = tvm.runtime.tensor(np.empty_like(x))
        function(tvm.runtime.tensor(x), out)
        np.testing.assert_array_equal(out.numpy(), np.clip(x, np.float32(low), np.float32(high)))


def test_only_bounds_from_zero_up_are_taken():
    assert "int32" in str(by_bits(clamp(0.0, 6.0).body))
    assert "reinterpret" not in str(by_bits(clamp(-6.0, -1.0).body))


@pytest.mark.parametrize(
    ("value", "bits"), [(0.0, 0), (-0.0, 0), (6.0, 0x40C00000), (-1.0, None), (float("nan"), None)]
)
def test_bits_of_a_bound(value, bits):
    assert bound_bits(tirx.const(value, "float32")) == bits
