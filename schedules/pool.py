"""Pooling over NHWC pixels: the mean of a whole image, and windows of maxima or means.

Vectors run over channels; a block of channels is reduced in registers while the window is walked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from tvm import ir, te, tirx
from tvm.s_tir import Schedule

from schedules.kernel import LANES, Decisions, Workload, anchor
from schedules.space import Decider
from schedules.tile import fold_epilogue, partition, unroll_all, vectorize_channels
from schedules.window import Window, padded_load
from targets.cores import Core

KIND = "pool"

BLOCKS = (32, 16, 8, 4)
"""Channels reduced together, best first: eight sums of four hide an addition's latency."""


Position = TypeVar("Position", int, ir.Expr)


def define_mean(data: te.Tensor) -> te.Tensor:
    """The mean over all pixels: `data` [batch, height, width, channels] -> [batch, 1, 1, channels]."""
    batch, height, width, channels = (int(extent) for extent in data.shape)
    r = te.reduce_axis((0, height), name="r")
    s = te.reduce_axis((0, width), name="s")
    total = anchor(
        KIND,
        (batch, 1, 1, channels),
        lambda b, _y, _x, c: te.sum(data[b, r, s, c], axis=[r, s]),
        {"h": 1, "w": 1, "c": channels, "kernel": height},
        0,
    )
    scale = tirx.const(1.0 / (height * width), data.dtype)
    return te.compute((batch, 1, 1, channels), lambda b, y, x, c: total[b, y, x, c] * scale, name="pixels")


def define_window(
    data: te.Tensor, window: Window, output: tuple[int, int], mode: str, counts_padding: bool
) -> te.Tensor:
    """Maxima or means (`mode` is "max" or "avg") of a window.

    `data` is [batch, height, width, channels]; returns [batch, *output, channels], where `output` may reach
    beyond the padding (`ceil_mode`). A mean divides by the window's area inside the padded image, or only by
    its pixels inside the image unless `counts_padding`.
    """
    batch, height, width, channels = (int(extent) for extent in data.shape)
    r = te.reduce_axis((0, window.kernel[0]), name="r")
    s = te.reduce_axis((0, window.kernel[1]), name="s")
    reduce, outside = REDUCTIONS[mode]
    reaching = _reaching(window, (height, width), output)

    def body(b: tirx.Var, y: tirx.Var, x: tirx.Var, c: tirx.Var) -> ir.Expr:
        pixel = padded_load(
            lambda row, column: data[b, row, column, c], (height, width), reaching, (y, x), (r, s), outside
        )
        return reduce(pixel, axis=[r, s])

    extents = (batch, *output, channels)
    total = anchor(KIND, extents, body, {"h": output[0], "w": output[1], "c": channels, **window.shape()}, 0)
    if mode == "max":
        return te.compute(extents, lambda b, y, x, c: total[b, y, x, c], name="pixels")
    share = _share(window, reaching, (height, width), counts_padding)
    return te.compute(extents, lambda b, y, x, c: total[b, y, x, c] * share(y, x), name="pixels")


def define_adaptive(data: te.Tensor, output: tuple[int, int]) -> te.Tensor:
    """Means over as many windows as `output`, (height', width'), has pixels, which cover the image.

    `data` is [batch, height, width, channels]; returns [batch, height', width', channels]. Along an axis of
    `extent`, window i of n goes from i * extent // n to before (i + 1) * extent / n, rounded up (PyTorch's
    aten/src/ATen/native/AdaptivePooling.h).
    """
    batch, height, width, channels = (int(extent) for extent in data.shape)
    sizes = tuple(zip((height, width), output, strict=True))
    if all(extent % count == 0 for extent, count in sizes):
        kernel = (height // output[0], width // output[1])
        return define_window(data, Window(kernel, kernel), output, "avg", counts_padding=True)
    longest = [
        max(_end(at, extent, count) - _start(at, extent, count) for at in range(count))
        for extent, count in sizes
    ]
    r, s = (te.reduce_axis((0, extent), name=name) for extent, name in zip(longest, "rs", strict=True))

    def body(b: tirx.Var, y: tirx.Var, x: tirx.Var, c: tirx.Var) -> ir.Expr:
        row, column = _start(y, height, output[0]) + r, _start(x, width, output[1]) + s
        inside = tirx.And(row < _end(y, height, output[0]), column < _end(x, width, output[1]))
        pixel = tirx.if_then_else(inside, data[b, row, column, c], tirx.const(0.0, "float32"))
        return te.sum(pixel, axis=[r, s])

    extents = (batch, *output, channels)
    shape = {"h": output[0], "w": output[1], "c": channels, "kernel": longest[0], "from_h": height}
    total = anchor(KIND, extents, body, shape, 0)

    def share(y: tirx.Var, x: tirx.Var) -> ir.Expr:
        rows, columns = (
            _end(at, extent, count) - _start(at, extent, count)
            for at, (extent, count) in zip((y, x), sizes, strict=True)
        )
        return tirx.const(1.0, "float32") / (rows * columns).astype("float32")

    return te.compute(extents, lambda b, y, x, c: total[b, y, x, c] * share(y, x), name="pixels")


def _start(at: Position, extent: int, count: int) -> Position:
    return at * extent // count


def _end(at: Position, extent: int, count: int) -> Position:
    return ((at + 1) * extent + count - 1) // count


REDUCTIONS: dict[str, tuple[Callable[..., ir.Expr], float]] = {
    "max": (te.max, float("-inf")),
    "avg": (te.sum, 0.0),
}


def _reaching(window: Window, size: tuple[int, int], output: tuple[int, int]) -> Window:
    """`window` with as much padding below and at the right as `output` needs."""
    needed = [
        (count - 1) * stride + kernel - extent - before
        for count, stride, kernel, extent, before in zip(
            output, window.stride, window.kernel, size, window.padding[:2], strict=True
        )
    ]
    top, left, bottom, right = window.padding
    return replace(window, padding=(top, left, max(bottom, needed[0]), max(right, needed[1])))


def _share(
    window: Window, reaching: Window, size: tuple[int, int], counts_padding: bool
) -> Callable[[tirx.Var, tirx.Var], ir.Expr]:
    """One by the number of pixels that count for the mean at an output pixel."""

    def counted(position: tirx.Var, axis: int) -> ir.Expr:
        start = position * window.stride[axis] - window.padding[axis]
        end = size[axis] + (window.padding[axis + 2] if counts_padding else 0)
        last = tirx.min(start + window.kernel[axis], end)
        return last - (start if counts_padding else tirx.max(start, 0))

    def share(y: tirx.Var, x: tirx.Var) -> ir.Expr:
        if not any(reaching.padding) or (counts_padding and reaching == window):
            return tirx.const(1.0 / (window.kernel[0] * window.kernel[1]), "float32")
        return tirx.const(1.0, "float32") / (counted(y, 0) * counted(x, 1)).astype("float32")

    return share


def decide(workload: Workload, core: Core, decider: Decider) -> Decisions:  # noqa: ARG001
    """The channel block."""
    return {
        "block": decider.choose("block", [each for each in BLOCKS if workload["c"] % each == 0] or [LANES])
    }


def schedule(sch: Schedule, decisions: Decisions) -> None:
    """Lay the kernel out: pixels, channel blocks, the window inside."""
    total = sch.get_sblock(KIND)
    output = fold_epilogue(sch, total)
    _, y, x, c = sch.get_loops(output)
    block, channel = sch.split(c, [None, decisions["block"]])
    unroll_all(sch, vectorize_channels(sch, channel))
    partition(sch, y, x, block)
    sch.compute_at(total, block, preserve_unit_loops=True)
    channel, r, s = sch.get_loops(total)[-3:]
    vector, lane = sch.split(channel, [None, LANES])
    sch.reorder(r, s, vector, lane)
    sch.vectorize(lane)
    unroll_all(sch, vector)
    sch.decompose_reduction(total, r)
