"""How much of an epilogue a written-out tile takes, and that what it leaves is still done."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from tvm import te, tirx

from compile.passes.in_place import overwritable
from compile.passes.schedule_kernels import pack
from schedules import pointwise
from schedules.apply import schedule_kernel
from schedules.kernel import CHANNEL_MULTIPLE, round_up
from targets.cores import find_core
from tests.boards import run_kernel

CORES = ("cortex-a53", "cortex-a72")
PIXELS, INPUTS = 14, 12


def zero(value: object) -> object:
    return te.max(value, tirx.const(0.0, "float32"))


def six(value: object) -> object:
    return te.min(value, tirx.const(6.0, "float32"))


def hard_swish(value: object) -> object:
    return value * six(zero(value + 3.0)) / 6.0


# What is made of a sum, its bias and a residual, in TIR and in numpy; what the loop does of it.
EPILOGUES: dict[str, tuple[Callable, Callable, str]] = {
    "bias": (lambda s, b, _r: s + b, lambda s, b, _r: s + b, "bias_out"),
    "bias first": (lambda s, b, _r: b + s, lambda s, b, _r: s + b, "bias_out"),
    "relu6": (
        lambda s, b, _r: six(zero(s + b)),
        lambda s, b, _r: np.clip(s + b, 0, 6),
        "bias_smax0_smin40c00000_out",
    ),
    "an odd bound": (
        lambda s, b, _r: te.min(s + b, tirx.const(0.3, "float32")),
        lambda s, b, _r: np.minimum(s + b, 0.3),
        "bias_smin3e99999a_out",
    ),
    "residual": (lambda s, b, r: (s + b) + r, lambda s, b, r: s + b + r, "bias_fadd0_out"),
    "residual first": (lambda s, b, r: r + (s + b), lambda s, b, r: s + b + r, "bias_fadd0_out"),
    "residual, relu": (
        lambda s, b, r: zero((s + b) + r),
        lambda s, b, r: np.maximum(s + b + r, 0),
        "bias_fadd0_smax0_out",
    ),
    "relu, residual": (
        lambda s, b, r: zero(s + b) + r,
        lambda s, b, r: np.maximum(s + b, 0) + r,
        "bias_smax0_fadd0_out",
    ),
    "no bias": (lambda s, _b, _r: zero(s), lambda s, _b, _r: np.maximum(s, 0), "zero_smax0_out"),
    "hard swish": (
        lambda s, b, _r: hard_swish(s + b),
        lambda s, b, _r: (s + b) * np.clip(s + b + 3, 0, 6) / 6,
        "bias_sums",
    ),
    "a negative bound": (
        lambda s, b, _r: te.max(s + b, tirx.const(-1.0, "float32")),
        lambda s, b, _r: np.maximum(s + b, -1),
        "bias_sums",
    ),
    "bias twice": (lambda s, b, _r: (s + b) * s, lambda s, b, _r: (s + b) * s, "zero_sums"),
}


def kernel(name: str, outputs: int) -> tirx.PrimFunc:
    data = te.placeholder((1, 2, PIXELS // 2, INPUTS), name="data")
    weight = te.placeholder((INPUTS, round_up(outputs, CHANNEL_MULTIPLE)), name="weight")
    bias = te.placeholder((outputs,), name="bias")
    total = pointwise.define(data, weight, outputs, (1, 1))
    residual = te.placeholder(total.shape, name="residual")
    made = EPILOGUES[name][0]
    result = te.compute(total.shape, lambda *i: made(total(*i), bias(i[-1]), residual(*i)), name="made")
    return te.create_prim_func([data, weight, bias, residual, result])


@pytest.mark.emulator
@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize(
    ("name", "outputs"), [*((name, 24) for name in EPILOGUES), ("relu6", 20), ("residual", 18)]
)
def test_epilogue_is_done_by_the_loop_or_after_it(name, outputs, core):
    scheduled = schedule_kernel(kernel(name, outputs), find_core(core)).function
    expected = EPILOGUES[name][2] if outputs % 8 == 0 else "bias_sums"
    assert f"_{expected}" in scheduled.script()
    random = np.random.default_rng(0)
    shapes = [tuple(int(n) for n in each.ty.shape) for each in kernel(name, outputs).params]
    data, weight, bias, residual, result = (
        random.standard_normal(shape).astype("float32") for shape in shapes
    )
    weight[:, outputs:] = 0
    packed = pack(weight, int(scheduled.params[1].ty.shape[-1]))
    *_, found = run_kernel(
        scheduled, find_core(core), [data, packed, bias, residual, np.full_like(result, np.nan)]
    )
    sums = data.reshape(-1, INPUTS) @ weight[:, :outputs]
    wanted = EPILOGUES[name][1](sums, bias, residual.reshape(sums.shape))
    np.testing.assert_allclose(found.reshape(sums.shape), wanted, atol=1e-4)


@pytest.mark.parametrize("core", CORES)
def test_loop_that_adds_a_residual_may_write_over_it(core):
    def positions(name: str, outputs: int) -> tuple[int, ...]:
        return overwritable(schedule_kernel(kernel(name, outputs), find_core(core)).function)

    assert positions("residual", 24) == (3,)
    assert positions("residual", 18) == (3,)
    assert positions("relu6", 24) == ()
