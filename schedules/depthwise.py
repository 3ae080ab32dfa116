"""Depthwise convolution over NHWC pixels: each channel has a filter of its own.

A block of channels is carried in vectors; `columns` neighbouring outputs are computed together, so that a
filter's weights stay in registers and each loaded pixel serves every output it touches. Borders are
tests on the load, which loop partitioning turns into loops of their own: no padded copy is made.
"""

from __future__ import annotations

from tvm import ir, te, tirx
from tvm.s_tir import Schedule

from schedules.kernel import LANES, Decisions, Workload, anchor, largest_divisor
from schedules.tile import fold_epilogue, partition, unroll_all, vectorize_channels
from schedules.window import Window, padded_load
from targets.cores import Core

KIND = "depthwise"

COLUMNS = (7, 4, 6, 5, 8)
"""Outputs along a row per step, best first: with a 3x3 filter's nine vectors, seven leave no spill."""

MAX_TAPS = 49
"""A filter is unrolled whole, which beyond 7x7 makes more code than an instruction cache holds."""


def define(data: te.Tensor, weight: te.Tensor, window: Window) -> te.Tensor:
    """The kernel before scheduling.

    `data` is [batch, height, width, channels]; `weight` is [kernel height, kernel width, channels].
    Returns [batch, height', width', channels].
    """
    batch, height, width, channels = (int(extent) for extent in data.shape)
    kernel_height, kernel_width = window.kernel
    out_height, out_width = window.output_size(height, width)
    r = te.reduce_axis((0, kernel_height), name="r")
    s = te.reduce_axis((0, kernel_width), name="s")

    def product(b: tirx.Var, y: tirx.Var, x: tirx.Var, c: tirx.Var) -> ir.Expr:
        pixel = padded_load(
            lambda row, column: data[b, row, column, c], (height, width), window, (y, x), (r, s)
        )
        return te.sum(pixel * weight[r, s, c], axis=[r, s])

    shape = {"h": out_height, "w": out_width, "c": channels, **window.shape()}
    outputs = batch * out_height * out_width * channels
    return anchor(
        KIND, (batch, out_height, out_width, channels), product, shape, outputs * kernel_height * kernel_width
    )


def default(workload: Workload, core: Core) -> Decisions:  # noqa: ARG001  (every kind takes the core)
    """The channel block and the outputs per step to use when nothing is tuned for `core`."""
    columns = largest_divisor(workload["w"], COLUMNS) or COLUMNS[0]
    return {
        "columns": min(columns, workload["w"]),
        "block": LANES,
    }


def schedule(sch: Schedule, decisions: Decisions) -> None:
    """Lay the kernel out: rows, channel blocks, then steps along the row with the filter in registers."""
    total = sch.get_sblock(KIND)
    output = fold_epilogue(sch, total)
    batch, y, x, c = sch.get_loops(output)
    step, column = sch.split(x, [None, decisions["columns"]])
    block, channel = sch.split(c, [None, decisions["block"]])
    sch.reorder(batch, y, block, step, column, channel)
    unroll_all(sch, column, vectorize_channels(sch, channel))
    partition(sch, y, step, block)
    sch.compute_at(total, step, preserve_unit_loops=True)
    column, channel, r, s = sch.get_loops(total)[-4:]
    vector, lane = sch.split(channel, [None, LANES])
    sch.reorder(r, s, column, vector, lane)
    unroll_all(sch, r, s, column, vector)
    sch.vectorize(lane)
    sch.decompose_reduction(total, r)
