"""Pooling over NHWC pixels: the mean of a whole image, and windows of maxima or means.

Vectors run over channels; a block of channels is reduced in registers while the window is walked.
"""

from __future__ import annotations

from collections.abc import Callable

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


def define_window(data: te.Tensor, window: Window, mode: str, counts_padding: bool) -> te.Tensor:
    """Maxima or means (`mode` is "max" or "avg") of a window.

    `data` is [batch, height, width, channels]; returns [batch, height', width', channels]. A mean divides
    by the window's area, or only by its pixels inside the image unless `counts_padding`.
    """
    batch, height, width, channels = (int(extent) for extent in data.shape)
    out_height, out_width = window.output_size(height, width)
    r = te.reduce_axis((0, window.kernel[0]), name="r")
    s = te.reduce_axis((0, window.kernel[1]), name="s")
    reduce, outside = REDUCTIONS[mode]

    def body(b: tirx.Var, y: tirx.Var, x: tirx.Var, c: tirx.Var) -> ir.Expr:
        pixel = padded_load(
            lambda row, column: data[b, row, column, c], (height, width), window, (y, x), (r, s), outside
        )
        return reduce(pixel, axis=[r, s])

    extents = (batch, out_height, out_width, channels)
    total = anchor(KIND, extents, body, {"h": out_height, "w": out_width, "c": channels, **window.shape()}, 0)
    if mode == "max":
        return te.compute(extents, lambda b, y, x, c: total[b, y, x, c], name="pixels")
    divisor = _divisor(window, height, width, counts_padding)
    return te.compute(extents, lambda b, y, x, c: total[b, y, x, c] / divisor(y, x), name="pixels")


REDUCTIONS: dict[str, tuple[Callable[..., ir.Expr], float]] = {
    "max": (te.max, float("-inf")),
    "avg": (te.sum, 0.0),
}


def _divisor(
    window: Window, height: int, width: int, counts_padding: bool
) -> Callable[[tirx.Var, tirx.Var], ir.Expr]:
    def inside(position: tirx.Var, extent: int, axis: int) -> ir.Expr:
        first = position * window.stride[axis] - window.padding[axis]
        last = tirx.min(first + window.kernel[axis], extent)
        return last - tirx.max(first, 0)

    def divisor(y: tirx.Var, x: tirx.Var) -> ir.Expr:
        if counts_padding or not any(window.padding):
            return tirx.const(float(window.kernel[0] * window.kernel[1]), "float32")
        return (inside(y, height, 0) * inside(x, width, 1)).astype("float32")

    return divisor


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
