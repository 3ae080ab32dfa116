"""The channel of the largest value of each NHWC pixel: class maps, of an image as it is or after a resize.

Vectors run over PIXELS neighbouring pixels of a row, and the channels are walked with the best so far in
registers: pixels are first laid side by side, [channel][pixel], in a workspace. A resized image is not made:
its source rows are interpolated along the row into the workspace, a strip of PIXELS columns at a time, and
every output row is a mix of two of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tvm import ir, te, tirx
from tvm.s_tir import Schedule
from tvm.s_tir.schedule import SBlockRV
from tvm.tirx import PrimFunc

from schedules.coordinates import entry
from schedules.kernel import LANES, Decisions, Workload, anchor, workload_of
from schedules.space import Decider
from schedules.tile import partition, unroll_all
from schedules.workspace import hoist
from targets.cores import Core

KIND = "argmax"
OUTPUT = "pixels"
COLUMNS = "columns"
"""The block that lays a strip's pixels side by side, and what it writes."""

PIXELS = 16
"""Pixels of a strip: a cache line of float32, and four independent chains of comparisons."""

UNROLLED = (1, 2, 4)
"""Channels of a turn of the loop, best first: one is enough instructions to hide the loop's own."""

Shape = tuple[int, int, int, int]
"""[batch, height, width, channels]"""
Value = Callable[[tirx.Var, tirx.Var, tirx.Var, tirx.Var, tirx.Var], ir.Expr]
"""The element of an image at (batch, row, strip, pixel of the strip, channel)."""


def define(shape: Shape, dtype: str) -> PrimFunc:
    """Of an image of `shape`: data, channels [batch, height, width] as `dtype`.

    Of equal values the first channel counts.
    """
    batch, height, width, channels = shape
    data = te.placeholder(shape, name="data")

    def in_row(b: tirx.Var, strip: tirx.Var, y: tirx.Var, k: tirx.Var, pixel: tirx.Var) -> ir.Expr:
        return data[b, y, tirx.min(strip * PIXELS + pixel, width - 1), k]

    columns = te.compute((batch, -(-width // PIXELS), height, channels, PIXELS), in_row, name=COLUMNS)

    def value(b: tirx.Var, y: tirx.Var, strip: tirx.Var, pixel: tirx.Var, k: tirx.Var) -> ir.Expr:
        return columns[b, strip, y, k, pixel]

    best = _best((batch, height, width), channels, value, dtype, {})
    return te.create_prim_func([data, best]).without_attr("global_symbol")


def define_resized(shape: Shape, size: tuple[int, int], dtype: str) -> PrimFunc:
    """The same of an image of `shape` after a bilinear resize to `size`, which is (height', width').

    Parameters: the image; `rows` int32 [2, height'], the two source rows of each row, and `row_weights`
    float32 [height'], the second's weight; `columns` and `column_weights` likewise, with as many entries as
    whole strips have columns; the channels [batch, height', width'].
    """
    batch, height, width, channels = shape
    strips = -(-size[1] // PIXELS)
    data = te.placeholder(shape, name="data")
    rows, columns = (te.placeholder((2, n), "int32", "source") for n in (size[0], strips * PIXELS))
    row_weights, column_weights = (
        te.placeholder((each.shape[1],), name="weight") for each in (rows, columns)
    )

    def along_row(b: tirx.Var, strip: tirx.Var, y: tirx.Var, k: tirx.Var, pixel: tirx.Var) -> ir.Expr:
        x = strip * PIXELS + pixel
        left, right = (data[b, y, entry(columns[side, x], width), k] for side in (0, 1))
        return left + column_weights[x] * (right - left)

    mixed = te.compute((batch, strips, height, channels, PIXELS), along_row, name=COLUMNS)

    def value(b: tirx.Var, y: tirx.Var, strip: tirx.Var, pixel: tirx.Var, k: tirx.Var) -> ir.Expr:
        upper, lower = (mixed[b, strip, entry(rows[side, y], height), k, pixel] for side in (0, 1))
        return upper + row_weights[y] * (lower - upper)

    best = _best((batch, *size), channels, value, dtype, {"from_h": height, "from_w": width})
    tensors = [data, rows, row_weights, columns, column_weights, best]
    return te.create_prim_func(tensors).without_attr("global_symbol")


def _best(
    extents: tuple[int, int, int], channels: int, value: Value, dtype: str, source: Mapping[str, int]
) -> te.Tensor:
    batch, height, width = extents
    k = te.reduce_axis((0, channels), name="k")
    shape = {"h": height, "w": width, "c": channels, **source}
    channel, _ = anchor(
        KIND,
        (batch, height, -(-width // PIXELS), PIXELS),
        lambda b, y, strip, pixel: _FIRST_LARGEST((k, value(b, y, strip, pixel, k)), axis=k),
        shape,
        0,
    )
    return te.compute(
        extents, lambda b, y, x: channel[b, y, x // PIXELS, x % PIXELS].astype(dtype), name=OUTPUT
    )


def _larger(best: tuple[ir.Expr, ir.Expr], new: tuple[ir.Expr, ir.Expr]) -> tuple[ir.Expr, ir.Expr]:
    is_larger = new[1] > best[1]
    return tirx.Select(is_larger, new[0], best[0]), tirx.Select(is_larger, new[1], best[1])


_FIRST_LARGEST = te.comm_reducer(
    _larger, lambda index, value: (tirx.const(0, index), te.min_value(value)), name="first_largest"
)


def decide(workload: Workload, core: Core, decider: Decider) -> Decisions:  # noqa: ARG001
    """Channels of a turn of the loop."""
    unrolled = [each for each in UNROLLED if workload["c"] % each == 0]
    return {"unroll": decider.choose("unroll", unrolled)}


def schedule(sch: Schedule, decisions: Decisions) -> None:
    """Lay the kernel out: strips of columns, rows, channels, the pixels inside."""
    best, output, columns = (sch.get_sblock(name) for name in (KIND, OUTPUT, COLUMNS))
    batch, y, x = sch.get_loops(output)
    strip, vector, lane = sch.split(x, [None, PIXELS // LANES, LANES])
    sch.reorder(batch, strip, y, vector, lane)
    sch.unroll(vector)
    sch.vectorize(lane)
    partition(sch, strip)
    sch.compute_at(best, y, preserve_unit_loops=True)
    workload = workload_of(sch)
    assert workload is not None
    is_resized = "from_h" in workload.shape
    if is_resized:
        rows = workload["from_h"]
        # Which two rows are read stands in a table: as far as can be seen here, it may be any.
        sch.annotate_buffer_access(best, 0, "read", lambda b, _y, s, pixel, k: (b, s, (0, rows), k, pixel))
    sch.compute_at(columns, strip if is_resized else y, preserve_unit_loops=True)
    _lay_side_by_side(sch, columns)
    pixel, channel = sch.get_loops(best)[-2:]
    vector, lane = sch.split(pixel, [None, LANES])
    turn, channel = sch.split(channel, [None, decisions["unroll"]])
    sch.reorder(turn, channel, vector, lane)
    unroll_all(sch, channel, vector)
    sch.vectorize(lane)
    sch.decompose_reduction(best, turn)
    hoist(sch, COLUMNS, axes=2 if is_resized else 3)


def _lay_side_by_side(sch: Schedule, columns: SBlockRV) -> None:
    """Vectors run over the channels, which lie side by side before."""
    channels, pixel = sch.get_loops(columns)[-2:]
    sch.reorder(pixel, channels)
    vector, lane = sch.split(channels, [None, LANES])
    sch.vectorize(lane)
    partition(sch, vector)
