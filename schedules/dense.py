"""Fully connected layer: a matrix of weights times a few rows, bound by reading the weights once.

Weights are packed in panels of `columns` outputs, whose sums all stay in registers.
"""

from __future__ import annotations

from tvm import ir, te, tirx
from tvm.s_tir import Schedule

from schedules.kernel import CHANNEL_MULTIPLE, LANES, Decisions, Workload, anchor, round_up
from schedules.space import Decider
from schedules.tile import fold_epilogue, partition, unroll_all, vectorize_channels
from targets.cores import Core

KIND = "dense"

COLUMNS = (40, 32, 48, 24, 16, 8)
"""Outputs per panel, best first: one row needs eight or more accumulators to hide the FMA's latency."""
STEPS = (4, 8, 2)
"""Inputs per round of the inner loop, best first."""


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


def decide(workload: Workload, core: Core, decider: Decider) -> Decisions:  # noqa: ARG001
    """The panel's width, and the inputs per round."""
    padded = round_up(workload["n"], CHANNEL_MULTIPLE)
    panels = [each for each in COLUMNS if padded % each == 0]
    return {"columns": decider.choose("columns", panels), "step": decider.choose("step", STEPS)}


def schedule(sch: Schedule, decisions: Decisions) -> None:
    """Lay the kernel out: panels of weights outside, rows, the sum inside."""
    columns = decisions["columns"]
    total = sch.get_sblock(KIND)
    sch.transform_layout(total, ("read", 1), lambda k, n: (n // columns, k, n % columns))
    output = fold_epilogue(sch, total)
    row, n = sch.get_loops(output)
    panel, column = sch.split(n, [None, columns])
    sch.reorder(panel, row, column)
    unroll_all(sch, vectorize_channels(sch, column))
    partition(sch, panel)
    sch.compute_at(total, row, preserve_unit_loops=True)
    column, k = sch.get_loops(total)[-2:]
    vector, lane = sch.split(column, [None, LANES])
    outer, inner = sch.split(k, [None, decisions["step"]])
    sch.reorder(outer, inner, vector, lane)
    partition(sch, outer)
    unroll_all(sch, inner, vector)
    sch.vectorize(lane)
    sch.decompose_reduction(total, outer)
