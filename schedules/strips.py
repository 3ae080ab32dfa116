"""Scheduled kernels as stages of a larger one: placed on regions of shared buffers, inside common loops."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias, TypeVar

from tvm import ir, tirx
from tvm.ir import Range, TensorRegion
from tvm.s_tir.stmt import MatchBufferRegion, SBlock, SBlockRealize
from tvm.tirx import PrimFunc, Stmt
from tvm.tirx.stmt import BufferRegion
from tvm_ffi import structural_map

from schedules.window import Taps

Place: TypeAlias = tuple[tirx.Var, Sequence[tuple[object, int]]]
"""A region of a buffer: the buffer, and of each axis the first element (an expression) and how many."""


def placed(function: PrimFunc, *places: Place) -> Stmt:
    """The body of a scheduled kernel, reading and writing at `places` instead of its parameters.

    Variables among its parameters stay what they are: the loops around it have to bind them.
    """
    root = function.body.block
    buffers = [parameter for parameter in function.params if tirx.buffer.is_buffer_var(parameter)]
    regions = [_region(*place) for place in places]
    views = [_anywhere(buffer) for buffer in buffers]
    pairs = list(zip(buffers, views, strict=True))

    def replace(variable: tirx.Var) -> tirx.Var:
        return next((view for buffer, view in pairs if buffer.same_as(variable)), variable)

    body = structural_map(root.body, (ir.Var, replace))
    matches = [MatchBufferRegion(*pair) for pair in zip(views, regions, strict=True)]
    block = SBlock([], regions[:-1], regions[-1:], "stage", body, None, root.alloc_buffers, matches)
    return SBlockRealize([], True, block)


def _anywhere(buffer: tirx.Var) -> tirx.Var:
    """A buffer like `buffer` that may begin at any element of another."""
    return tirx.decl_buffer(buffer.ty.shape, buffer.ty.dtype, buffer.name, offset_factor=1)


def _region(buffer: tirx.Var, extents: Sequence[tuple[object, int]]) -> TensorRegion:
    return BufferRegion(buffer, [Range.from_min_extent(first, count) for first, count in extents])


def whole(buffer: tirx.Var) -> Place:
    """All of `buffer`."""
    return buffer, [(0, extent) for extent in extents_of(buffer)]


def extents_of(buffer: tirx.Var) -> tuple[int, ...]:
    """The shape of `buffer`."""
    return tuple(int(extent) for extent in buffer.ty.shape)


def loop(variable: tirx.Var, extent: int, body: Stmt) -> Stmt:
    """`body` for `variable` from 0 to below `extent`."""
    return tirx.For(variable, 0, extent, tirx.ForKind.SERIAL, body)


def sequence(statements: Sequence[Stmt]) -> Stmt:
    """One statement after the other."""
    return statements[0] if len(statements) == 1 else tirx.SeqStmt(list(statements))


def by_run(position: tirx.Var, runs: Sequence[Taps], body: Callable[[Taps], Stmt]) -> Stmt:
    """`body` of the run that holds `position`."""
    run, *rest = runs
    if not rest:
        return body(run)
    return tirx.IfThenElse(position < run.stop, body(run), by_run(position, rest, body))


Code = TypeVar("Code", Stmt, ir.Expr)


def substituted(code: Code, variable: tirx.Var, value: ir.Expr) -> Code:
    """`code` with `value` in the place of `variable`."""
    return structural_map(code, (ir.Var, lambda found: value if found.same_as(variable) else found))
