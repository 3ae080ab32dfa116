"""Tensors one after the other in a larger one: each is copied to its place, in vectors.

Seen as [outer, run]: what lies before the axis, and what is contiguous from it on. With one run each, the
result is the tensors themselves side by side, and memory planning makes the copy unnecessary (compile/passes/
joins.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from tvm import ir, s_tir, tirx
from tvm.s_tir import Schedule
from tvm.tirx import PrimFunc
from tvm.tirx.stmt import BufferRegion

from schedules.kernel import Decisions, Workload, mark
from schedules.space import Decider
from schedules.strips import loop, sequence
from schedules.tile import partition, unroll_all, vectorize_channels
from targets.cores import Core

KIND = "concat"
JOINS = "armature.joins"
"""The attribute of a kernel whose result is its inputs side by side."""

STEPS = (16, 8, 4)
"""Elements of a turn of the loop along a run, best first."""


def define(outer: int, runs: Sequence[int]) -> PrimFunc:
    """Parameters: float32 [outer, run] for each of `runs`; the result [outer, sum of the runs]."""
    parts = [tirx.decl_buffer((outer, run), "float32", f"part{at}") for at, run in enumerate(runs)]
    whole = tirx.decl_buffer((outer, sum(runs)), "float32", "whole")
    row = tirx.Var("row", "int32")
    starts = accumulate(runs, initial=0)
    copies = [_copy(part, whole, row, start) for part, start in zip(parts, starts, strict=False)]
    body = loop(row, outer, sequence(copies))
    root = s_tir.SBlockRealize([], True, s_tir.SBlock([], [], [], "root", body))
    function = PrimFunc([*parts, whole], root).with_attrs(
        {"tirx.noalias": True, "s_tir": True, JOINS: outer == 1}
    )
    shape = {"outer": outer, **{f"run{at}": run for at, run in enumerate(runs)}}
    return mark(function, Workload(KIND, shape, 0))


def _copy(part: tirx.Var, whole: tirx.Var, row: tirx.Var, start: int) -> tirx.Stmt:
    """A row of `part` to its place from `start` on."""
    extents = [int(extent) for extent in part.ty.shape]
    spans = [ir.Range(0, extent) for extent in extents]
    i, j = (tirx.IterVar(span, tirx.Var(name, "int32"), 0) for span, name in zip(spans, "ij", strict=True))
    here, there = [i.var, j.var], [i.var, j.var + start]
    copied = tirx.BufferStore(whole, tirx.BufferLoad(part, here), there)
    regions = [
        BufferRegion(buffer, [ir.Range.from_min_extent(index, 1) for index in indices])
        for buffer, indices in ((part, here), (whole, there))
    ]
    block = s_tir.SBlock([i, j], regions[:1], regions[1:], part.name, copied)
    column = tirx.Var("column", "int32")
    return loop(column, extents[1], s_tir.SBlockRealize([row, column], True, block))


def decide(workload: Workload, core: Core, decider: Decider) -> Decisions:  # noqa: ARG001
    """Elements of a turn of the loop."""
    return {"step": decider.choose("step", STEPS)}


def schedule(sch: Schedule, decisions: Decisions) -> None:
    """Copy in vectors."""
    for block in sch.get_child_blocks(sch.get_sblock("root")):
        _, run = sch.get_loops(block)
        turn, element = sch.split(run, [None, decisions["step"]])
        partition(sch, turn)
        unroll_all(sch, vectorize_channels(sch, element))
