"""Convolution with a window over all input channels (the stem, dense 3x3), and grouped convolution.

The same register tile as the pointwise kernel's, of neighbouring outputs along a row by output channels;
the window's taps and the input channels are summed inside. Borders are cut off as in the depthwise kernel.
"""

from __future__ import annotations

from tvm import ir, te, tirx
from tvm.s_tir import Schedule

from schedules.kernel import CHANNEL_MULTIPLE, LANES, Decisions, Workload, anchor, round_up
from schedules.space import Decider, dividing_first
from schedules.tile import fold_epilogue, partition, unroll_all
from schedules.window import Window, padded_load
from targets.cores import Core

KIND = "conv"

COLUMNS = (7, 8, 6, 5, 4)
"""Outputs along a row per tile, best first."""
PANELS = (8, 16, 12)
"""Output channels per panel, best first."""
MAX_SUMS = 24
"""Vector registers for sums, which leaves some for the operands."""
STEPS = (4, 2, 8)
"""Input channels per round of the inner loop, best first."""
UNROLLED_TAPS = 32
"""A sum of at most so many products (a stem's 3x3x3) is unrolled whole."""


def define(
    data: te.Tensor, weight: te.Tensor, channels: int, window: Window, groups: int, channels_last: bool = True
) -> te.Tensor:
    """The kernel before scheduling.

    `data` is [batch, height, width, inputs], or [batch, inputs, height, width] unless `channels_last`: a
    stem reads the user's image as it is. `weight` is [kernel height, kernel width, inputs / groups,
    outputs], its outputs rounded up to CHANNEL_MULTIPLE with zeros. Returns [batch, height', width',
    channels].
    """
    extents = [int(extent) for extent in data.shape]
    batch = extents[0]
    size = (extents[1], extents[2]) if channels_last else (extents[2], extents[3])
    kernel_height, kernel_width, depth, padded_channels = (int(extent) for extent in weight.shape)
    out_height, out_width = window.output_size(*size)
    per_group = channels // groups
    r = te.reduce_axis((0, kernel_height), name="r")
    s = te.reduce_axis((0, kernel_width), name="s")
    k = te.reduce_axis((0, depth), name="k")

    def product(b: tirx.Var, y: tirx.Var, x: tirx.Var, n: tirx.Var) -> ir.Expr:
        source = k if groups == 1 else tirx.min(n // per_group, groups - 1) * depth + k

        def read(row: ir.Expr, column: ir.Expr) -> ir.Expr:
            return data[(b, row, column, source) if channels_last else (b, source, row, column)]

        pixel = padded_load(read, size, window, (y, x), (r, s))
        return te.sum(pixel * weight[r, s, k, n], axis=[r, s, k])

    shape = {"h": out_height, "w": out_width, "k": depth, "n": channels, **window.shape()}
    if groups > 1:
        shape["groups"] = groups
    outputs = batch * out_height * out_width * channels
    taps = kernel_height * kernel_width * depth
    total = anchor(KIND, (batch, out_height, out_width, padded_channels), product, shape, outputs * taps)
    return te.compute(
        (batch, out_height, out_width, channels), lambda b, y, x, n: total[b, y, x, n], name="pixels"
    )


def decide(workload: Workload, core: Core, decider: Decider) -> Decisions:  # noqa: ARG001
    """The tile and the input channels per round."""
    columns = decider.choose("columns", dividing_first(workload["w"], COLUMNS))
    padded = round_up(workload["n"], CHANNEL_MULTIPLE)
    panels = [each for each in PANELS if padded % each == 0 and columns * each // LANES <= MAX_SUMS]
    return {
        "columns": columns,
        "channels": decider.choose("channels", panels),
        "step": decider.choose("step", STEPS),
    }


def schedule(sch: Schedule, decisions: Decisions) -> None:
    """Lay the kernel out: rows, channel panels, tiles along the row, the window's sum inside."""
    columns, channels = decisions["columns"], decisions["channels"]
    total = sch.get_sblock(KIND)
    sch.transform_layout(total, ("read", 1), lambda r, s, k, n: (n // channels, r, s, k, n % channels))
    output = fold_epilogue(sch, total)
    batch, y, x, n = sch.get_loops(output)
    tile, column = sch.split(x, [None, columns])
    panel, channel = sch.split(n, [None, channels])
    sch.reorder(batch, y, tile, panel, column, channel)
    vector, lane = sch.split(channel, [None, LANES])
    sch.vectorize(lane)
    unroll_all(sch, column, vector)
    partition(sch, y, tile, panel)
    sch.compute_at(total, panel, preserve_unit_loops=True)
    _accumulate(sch, total, decisions["step"])


def _accumulate(sch: Schedule, total: object, step: int) -> None:
    column, channel, r, s, k = sch.get_loops(total)[-5:]
    vector, lane = sch.split(channel, [None, LANES])
    taps = [int(sch.get(loop).extent) for loop in (r, s, k)]
    sch.vectorize(lane)
    if taps[0] * taps[1] * taps[2] <= UNROLLED_TAPS:
        sch.reorder(r, s, k, column, vector, lane)
        unroll_all(sch, r, s, k)
    else:
        outer, inner = sch.split(k, [None, step])
        sch.reorder(r, s, outer, inner, column, vector, lane)
        unroll_all(sch, inner)
    unroll_all(sch, column, vector)
    sch.decompose_reduction(total, r)
