"""Planes of channels, NCHW, made from NHWC pixels: what a network gives back to who called it.

A resized image is not made in NHWC first: a channel's source rows are interpolated along the row into a
workspace, and every output row is a mix of two of them, in vectors along the row.
"""

from __future__ import annotations

from tvm import ir, te, tirx
from tvm.s_tir import Schedule
from tvm.tirx import PrimFunc

from schedules.coordinates import entry
from schedules.kernel import LANES, Decisions, Workload, anchor
from schedules.space import Decider
from schedules.tile import partition, unroll_all, vectorize_channels
from schedules.workspace import hoist
from targets.cores import Core

KIND = "planar"
COLUMNS = "columns"
"""The block that interpolates source rows along the row, and what it writes."""

SIDES = (16, 8, 4)
"""Pixels and channels of a tile that is transposed, best first: a cache line of float32 each way."""
STEPS = (32, 16, 8, 4)
"""Pixels of a turn of the loop along a resized row, best first."""


def define(shape: tuple[int, int, int, int]) -> PrimFunc:
    """Of an image of `shape`, [batch, height, width, channels]: [batch, channels, height, width]."""
    batch, height, width, channels = shape
    data = te.placeholder((batch, height * width, channels), name="data")
    extents = {"h": height, "w": width, "c": channels}
    planes = anchor(
        KIND, (batch, channels, height * width), lambda b, c, pixel: data[b, pixel, c], extents, 0
    )
    return te.create_prim_func([data, planes]).without_attr("global_symbol")


def define_resized(shape: tuple[int, int, int, int], size: tuple[int, int]) -> PrimFunc:
    """The same of an image of `shape` after a bilinear resize to `size`, which is (height', width').

    Parameters: the image; `rows` int32 [2, height'], the two source rows of each row, and `row_weights`
    float32 [height'], the second's weight; `columns` and `column_weights` likewise; the planes
    [batch, channels, height', width'].
    """
    batch, height, width, channels = shape
    data = te.placeholder(shape, name="data")
    rows, columns = (te.placeholder((2, extent), "int32", "source") for extent in size)
    row_weights, column_weights = (te.placeholder((extent,), name="weight") for extent in size)

    def along_row(b: tirx.Var, c: tirx.Var, y: tirx.Var, x: tirx.Var) -> ir.Expr:
        left, right = (data[b, y, entry(columns[side, x], width), c] for side in (0, 1))
        return left + column_weights[x] * (right - left)

    mixed = te.compute((batch, channels, height, size[1]), along_row, name=COLUMNS)

    def value(b: tirx.Var, c: tirx.Var, y: tirx.Var, x: tirx.Var) -> ir.Expr:
        upper, lower = (mixed[b, c, entry(rows[side, y], height), x] for side in (0, 1))
        return upper + row_weights[y] * (lower - upper)

    extents = {"h": size[0], "w": size[1], "c": channels, "from_h": height, "from_w": width}
    planes = anchor(KIND, (batch, channels, *size), value, extents, 0)
    tensors = [data, rows, row_weights, columns, column_weights, planes]
    return te.create_prim_func(tensors).without_attr("global_symbol")


def decide(workload: Workload, core: Core, decider: Decider) -> Decisions:  # noqa: ARG001
    """The tile that is transposed, or the step along a resized row."""
    if "from_h" in workload.shape:
        return {"step": decider.choose("step", STEPS)}
    return {"side": decider.choose("side", SIDES)}


def schedule(sch: Schedule, decisions: Decisions) -> None:
    """Lay the kernel out: tiles of pixels and channels; or planes, of each its columns and then its rows."""
    planes = sch.get_sblock(KIND)
    if "side" in decisions:
        _, channel, pixel = sch.get_loops(planes)
        pixels, pixel = sch.split(pixel, [None, decisions["side"]])
        channels, channel = sch.split(channel, [None, decisions["side"]])
        sch.reorder(pixels, channels, channel, pixel)
        partition(sch, pixels, channels)
        sch.unroll(pixel)  # one by one: loads to single lanes take longer than pairs of stores
        return
    columns = sch.get_sblock(COLUMNS)
    rows = sch.get(sch.get_loops(columns)[2]).extent
    # Which two rows are read stands in a table: as far as can be seen here, it may be any.
    sch.annotate_buffer_access(planes, 0, "read", lambda b, c, _y, x: (b, c, (0, rows), x))
    _, channel, _, x = sch.get_loops(planes)
    step, pixel = sch.split(x, [None, decisions["step"]])
    partition(sch, step)
    unroll_all(sch, vectorize_channels(sch, pixel))
    sch.compute_at(columns, channel, preserve_unit_loops=True)
    step, pixel = sch.split(sch.get_loops(columns)[-1], [None, LANES])
    partition(sch, step)
    sch.vectorize(pixel)
    hoist(sch, COLUMNS, axes=2)
