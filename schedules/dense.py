"""Fully connected layer: a matrix of weights times a few rows, bound by reading the weights once.

Weights are packed in panels of `columns` outputs, whose sums all stay in registers. What is multiplied is
pixel_tile.py's, a row of data being a pixel.
"""

from __future__ import annotations

from tvm import ir, te, tirx
from tvm.s_tir import Schedule

from schedules.kernel import CHANNEL_MULTIPLE, Decisions, Workload, anchor, round_up
from schedules.microkernel import style_of
from schedules.pixel_tile import choose, tiles
from schedules.space import Decider
from schedules.splice import mark_pixel_tile
from schedules.tile import fold_epilogue, lanes_of, partition, unroll_all, vectorize_channels
from targets.cores import Core

KIND = "dense"

COLUMNS = (40, 32, 48, 24, 16, 12, 8)
"""Outputs per panel: one row needs eight or more sums to hide the multiply-add's latency."""


def define(data: te.Tensor, weight: te.Tensor, outputs: int) -> te.Tensor:
    """The kernel before scheduling.

    `data` is [rows, inputs]; `weight` is [inputs, outputs], its outputs rounded up to CHANNEL_MULTIPLE
    with zeros. Returns [rows, outputs].
    """
    rows, inputs = (int(extent) for extent in data.shape)
    k = te.reduce_axis((0, inputs), name="k")

    def product(m: tirx.Var, n: tirx.Var) -> ir.Expr:
        return te.sum(data[m, k] * weight[k, n], axis=k)

    total = anchor(
        KIND,
        (rows, int(weight.shape[1])),
        product,
        {"m": rows, "k": inputs, "n": outputs},
        rows * inputs * outputs,
    )
    return te.compute((rows, outputs), lambda m, n: total[m, n], name="rows")


def decide(workload: Workload, core: Core, decider: Decider) -> Decisions:
    """The tile and its load style."""
    padded = round_up(workload["n"], CHANNEL_MULTIPLE)
    found = tiles(workload["m"], padded, workload["k"], COLUMNS, style_of(core))
    tile = choose(decider, found)
    return {**tile.decisions(), "lanes": lanes_of(core, tile.columns)}


def schedule(sch: Schedule, decisions: Decisions) -> None:
    """Lay the kernel out: panels of weights outside, tiles of rows, the sum inside."""
    columns = decisions["columns"]
    total = sch.get_sblock(KIND)
    sch.transform_layout(total, ("read", 1), lambda k, n: (n // columns, k, n % columns))
    output = fold_epilogue(sch, total)
    m, n = sch.get_loops(output)
    tile, row = sch.split(m, [None, decisions["rows"]])
    panel, column = sch.split(n, [None, columns])
    sch.reorder(panel, tile, row, column)
    unroll_all(sch, row, vectorize_channels(sch, column))
    partition(sch, panel, tile)
    sch.compute_at(total, tile, preserve_unit_loops=True)
    row = sch.get_loops(total)[-3]
    mark_pixel_tile(sch, total, row, row, decisions)
