"""Resizing over NHWC pixels, bilinear or to the nearest pixel: vectors run over channels.

Positions and weights come as tables, one entry for a row or a column (coordinates.py), so that nothing about
them is worked out for a pixel but the products of its four weights.
"""

from __future__ import annotations

from collections.abc import Callable

from tvm import ir, te, tirx
from tvm.s_tir import Schedule

from schedules.coordinates import entry
from schedules.kernel import LANES, Decisions, Workload, anchor
from schedules.space import Decider
from schedules.tile import fold_epilogue, partition, unroll_all, vectorize_channels
from targets.cores import Core

KIND = "resize"

BLOCKS = (32, 16, 8, 4)
"""Channels of a step, best first: their sums are independent, and hide each other's latency."""


def define_bilinear(
    data: te.Tensor, rows: te.Tensor, row_weights: te.Tensor, columns: te.Tensor, column_weights: te.Tensor
) -> te.Tensor:
    """Bilinear: `data` [batch, height, width, channels] -> [batch, height', width', channels].

    `rows` int32 [2, height'] are the two source rows of each row, `row_weights` float32 [height'] the
    second's weight; `columns` and `column_weights` likewise.
    """

    height, width = (int(extent) for extent in data.shape[1:3])

    def body(b: tirx.Var, y: tirx.Var, x: tirx.Var, c: tirx.Var) -> ir.Expr:
        total = None
        for r, s in ((0, 0), (0, 1), (1, 0), (1, 1)):
            weight = _weight(row_weights[y], r) * _weight(column_weights[x], s)
            part = data[b, entry(rows[r, y], height), entry(columns[s, x], width), c] * weight
            total = part if total is None else total + part
        return total

    return _resized(data, rows.shape[1], columns.shape[1], body)


def define_nearest(data: te.Tensor, rows: te.Tensor, columns: te.Tensor) -> te.Tensor:
    """The nearest pixel: `data` [batch, height, width, channels] -> [batch, height', width', channels].

    `rows` int32 [height'] and `columns` int32 [width'] are the source's.
    """

    height, width = (int(extent) for extent in data.shape[1:3])

    def body(b: tirx.Var, y: tirx.Var, x: tirx.Var, c: tirx.Var) -> ir.Expr:
        return data[b, entry(rows[y], height), entry(columns[x], width), c]

    return _resized(data, rows.shape[0], columns.shape[0], body)


def _weight(second: ir.Expr, tap: int) -> ir.Expr:
    return second if tap else tirx.const(1.0, "float32") - second


def _resized(data: te.Tensor, height: int, width: int, body: Callable[..., ir.Expr]) -> te.Tensor:
    batch, rows, columns, channels = (int(extent) for extent in data.shape)
    extents = (batch, int(height), int(width), channels)
    shape = {"h": extents[1], "w": extents[2], "c": channels, "from_h": rows, "from_w": columns}
    return anchor(KIND, extents, body, shape, 0)


def decide(workload: Workload, core: Core, decider: Decider) -> Decisions:  # noqa: ARG001
    """The channel block."""
    fitting = [each for each in BLOCKS if workload["c"] % each == 0]
    smaller = [each for each in BLOCKS if each <= workload["c"]] or [LANES]
    return {"block": decider.choose("block", fitting or smaller)}


def schedule(sch: Schedule, decisions: Decisions) -> None:
    """Lay the kernel out: rows, pixels, channel blocks."""
    total = sch.get_sblock(KIND)
    output = fold_epilogue(sch, total)
    if not sch.get(total).same_as(sch.get(output)):
        sch.compute_inline(total)
    block, channel = sch.split(sch.get_loops(output)[-1], [None, decisions["block"]])
    unroll_all(sch, vectorize_channels(sch, channel))
    partition(sch, block)
