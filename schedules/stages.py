"""The stages of a bottleneck, each a kernel of its own kind, for a row or a strip of rows."""

from __future__ import annotations

import math
from types import ModuleType

from tvm import ir, te, tirx
from tvm.s_tir import Schedule
from tvm.tirx import PrimFunc

from schedules import conv, depthwise, pointwise
from schedules.block import Clamp, Plan
from schedules.kernel import CHANNEL_MULTIPLE, round_up, workload_of
from schedules.splice import splice
from schedules.window import Taps, Window
from targets.cores import Core


def expansion_row(plan: Plan, run: Taps, row: tirx.Var, core: Core) -> PrimFunc:
    """One group of the expansion: data, weight, bias, result.

    A stem makes one `row`, its last parameter, from the whole image, of which it sees the taps `run`; a
    pointwise expansion makes as many rows as it is given.
    """
    first = plan.block.expansion
    assert first is not None
    bias = te.placeholder((plan.group,), name="bias")
    if first.is_pointwise:
        data = te.placeholder((1, plan.expanded_rows, first.size[1], first.inputs), name="data")
        weight = te.placeholder((first.inputs, plan.group), name="weight")
        total = pointwise.define(data, weight, plan.group, first.window.stride)
        return _scheduled(pointwise, [data, weight, bias, _finished(total, bias, first.clamp)], core)
    data = te.placeholder(first.data_shape(1), name="data")
    weight = te.placeholder((run.count, first.window.kernel[1], first.inputs, plan.group), name="weight")
    seen = _rows_seen(data, row, run, first.window, 1 if first.channels_last else 2)
    total = conv.define(seen, weight, plan.group, _row_window(first.window, run), 1, first.channels_last)
    return _scheduled(conv, [data, weight, bias, _finished(total, bias, first.clamp), row], core)


def depthwise_row(plan: Plan, run: Taps, row: tirx.Var, core: Core) -> PrimFunc:
    """One `row` of one group of the depthwise convolution: data, weight, bias, result, `row`.

    The data is a group of the ring, or where there is no expansion the image; `run` says which taps the row
    sees of it.
    """
    block = plan.block
    height = block.size[0] if block.expansion is None else plan.ring_rows
    data = te.placeholder((1, height, block.size[1], plan.group), name="data")
    weight = te.placeholder((run.count, block.window.kernel[1], plan.group), name="weight")
    bias = te.placeholder((plan.group,), name="bias")
    seen = _rows_seen(data, row, run, block.window, 1, height if height < block.size[0] else None)
    total = depthwise.define(seen, weight, _row_window(block.window, run))
    return _scheduled(depthwise, [data, weight, bias, _finished(total, bias, block.clamp), row], core)


def projection_strip(plan: Plan, core: Core) -> PrimFunc:
    """A strip of the output, from all middle channels: data, weight, bias, the shortcut if any, result."""
    block = plan.block
    data = te.placeholder(plan.strip_shape, name="data")
    weight = te.placeholder((plan.middle, round_up(block.outputs, CHANNEL_MULTIPLE)), name="weight")
    bias = te.placeholder((block.outputs,), name="bias")
    result = _finished(pointwise.define(data, weight, block.outputs, (1, 1)), bias, block.output_clamp)
    if not block.shortcut:
        return _scheduled(pointwise, [data, weight, bias, result], core)
    other = te.placeholder(result.shape, name="shortcut")
    added = te.compute(result.shape, lambda *i: result(*i) + other(*i), name="shortcut_add")
    return _scheduled(pointwise, [data, weight, bias, other, added], core)


def _scheduled(kind: ModuleType, tensors: list[te.Tensor | tirx.Var], core: Core) -> PrimFunc:
    """A kernel of `kind` that computes the last of `tensors` from the others, by the kind's default."""
    sch = Schedule(te.create_prim_func(tensors))
    kind.schedule(sch, kind.default(workload_of(sch), core))
    splice(sch)
    return sch.mod["main"]


def _rows_seen(
    data: te.Tensor, output: tirx.Var, run: Taps, window: Window, axis: int, ring: int | None = None
) -> te.Tensor:
    """The rows of `data` (along `axis`) that the taps `run` of the window at row `output` see.

    Row n of the image is row n % `ring` of `data`, or row n. Schedules inline it: nothing is copied.
    """
    shape = [int(extent) for extent in data.shape]
    shape[axis] = run.count

    def read(*index: ir.Expr) -> ir.Expr:
        row = output * window.stride[0] - window.padding[0] + (run.first + index[axis]) * window.dilation[0]
        row = row if ring is None else row % ring
        return data(*index[:axis], row, *index[axis + 1 :])

    return te.compute(shape, read, name="rows_seen")


def _row_window(window: Window, run: Taps) -> Window:
    """What is left of `window` on the rows that `run` sees."""
    _, left, _, right = window.padding
    return Window(
        kernel=(run.count, window.kernel[1]),
        stride=(1, window.stride[1]),
        padding=(0, left, 0, right),
        dilation=(1, window.dilation[1]),
    )


def _finished(total: te.Tensor, bias: te.Tensor, clamp: Clamp) -> te.Tensor:
    low, high = clamp

    def value(*index: ir.Expr) -> ir.Expr:
        result = total(*index) + bias(index[-1])
        if low > -math.inf:
            result = te.max(result, tirx.const(low, "float32"))
        if high < math.inf:
            result = te.min(result, tirx.const(high, "float32"))
        return result

    return te.compute(total.shape, value, name="finished")
