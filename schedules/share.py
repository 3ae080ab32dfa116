"""Shares of a scheduled kernel: what each of several threads does of it, so that together they do it once.

A share is a range of units: turns of the outermost loops whose results lie apart. A kernel keeps its loops,
and a test inside the last of these asks whether the unit is the thread's, so that every number is computed by
the same instructions as by one thread. The test is a call that means nothing to TVM's passes, which would cut
loops at it; `resolved()` puts comparisons in its place once they are through.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import tvm_ffi
from tvm import ir, sym, tirx
from tvm.s_tir import SBlock, SBlockRealize
from tvm.tirx import PrimFunc, Stmt

_MINE = "armature.mine"
_SHARE = "armature.share"
EVEN = 0.9
"""Units are turns of as many loops, from outside, as keep threads busy for this part of the time."""


@dataclass(frozen=True)
class Share:
    """A function of the first three parameters (turn, begin, end), int32: it does units begin to below end.

    Where a kernel becomes several, each waits for all of the one before; where they take turns, all are
    called for turn 0, then for turn 1, and so on.
    """

    function: PrimFunc
    units: int
    turns: int
    work: int
    """About how many multiply-adds, or elements touched if there are none, are in one turn."""
    own: tuple[int, ...]
    """Positions among the kernel's parameters of workspace that each thread needs for itself."""


def share(
    kernel: PrimFunc,
    body: Stmt,
    units: int,
    turns: int,
    work: int,
    own: Sequence[int],
    turn: tirx.Var | None = None,
) -> Share:
    """The share of a kernel that does `body`, in which `turn` is its first parameter."""
    root = kernel.body.block
    first = [turn if turn is not None else tirx.Var("turn", "int32")]
    first += [tirx.Var(name, "int32") for name in ("begin", "end")]
    whole = SBlock([], [], [], root.name_hint, body, None, root.alloc_buffers, None, root.annotations)
    function = PrimFunc(
        [*first, *kernel.params], SBlockRealize([], True, whole), kernel.ret_type, kernel.attrs, kernel.span
    )
    return Share(function.with_attr(_SHARE, 1), units, turns, work, tuple(own))


def mine(unit: ir.Expr, stmt: Stmt, ahead: int = 0) -> Stmt:
    """`stmt` where the unit, or one of the `ahead` after it, is the thread's."""
    return tirx.IfThenElse(tirx.call_pure_extern("bool", _MINE, unit, ahead), stmt, None)


def resolved(function: PrimFunc) -> PrimFunc:
    """A lowered kernel that, if it is a share, has comparisons in the place of its tests."""
    if _SHARE not in function.attrs:
        return function
    _, begin, end = function.params[:3]

    def compared(call: ir.Call) -> ir.Expr:
        if getattr(call.op, "name", "") != "tirx.call_pure_extern" or call.args[0].value != _MINE:
            return call
        _, unit, ahead = call.args
        return tirx.And(unit + ahead >= begin, unit < end)

    body = tvm_ffi.structural_map(function.body, (ir.Call, compared))
    return PrimFunc(function.params, body, function.ret_type, function.attrs, function.span)


def guarded(nest: Stmt, private: Sequence[tirx.Var], threads: int) -> tuple[Stmt, int] | None:
    """A nest of loops that does the thread's units alone, and how many units there are; None where there is
    but one, or what turns write cannot be told apart. `private` buffers are each thread's own.
    """
    loops = _chain(nest)
    best: tuple[float, int] | None = None
    for depth in range(1, len(loops) + 1):
        if not _lie_apart(nest, loops[:depth], private):
            continue
        units = math.prod(int(loop.extent) for loop in loops[:depth])
        even = units / (threads * -(-units // threads))
        if units > 1 and (best is None or even > best[0]):
            best = even, depth
        if best is not None and best[0] >= EVEN:
            break
    if best is None:
        return None
    chosen = loops[: best[1]]
    unit: ir.Expr = tirx.const(0, "int32")
    for loop in chosen:
        unit = unit * loop.extent + loop.loop_var
    stmt = mine(unit, chosen[-1].body)
    for loop in reversed(chosen):
        stmt = tirx.For(loop.loop_var, 0, loop.extent, loop.kind, stmt, loop.thread_binding, loop.annotations)
    return stmt, math.prod(int(loop.extent) for loop in chosen)


def _chain(stmt: Stmt) -> list[tirx.For]:
    """The loops of a nest from outside, as long as there is nothing else in them."""
    loops = []
    while isinstance(stmt, tirx.For) and stmt.kind == tirx.ForKind.SERIAL and _is_plain(stmt):
        loops.append(stmt)
        stmt = stmt.body
    return loops


def _is_plain(loop: tirx.For) -> bool:
    return isinstance(loop.extent, tirx.IntImm) and int(loop.min) == 0


def _lie_apart(nest: Stmt, loops: Sequence[tirx.For], private: Sequence[tirx.Var]) -> bool:
    """Whether no two turns of `loops` write the same, or read what another writes.

    So it is where every block that writes to what threads share is told by a loop's variable where to, in an
    axis that is no sum's: blocks come from tensor expressions, whose every element is set in one place.
    """
    found = _Found(nest)
    own = [*private, *found.allocated]
    shared = [each for each in found.blocks if not all(_is_in(to.source, own) for to in each.block.writes)]
    written = [to.source for each in shared for to in each.block.writes]
    if not shared or found.is_a_program or not all(_is_in(each, [*written, *own]) for each in found.stored):
        return False
    for each in shared:
        others = [to.source for to in each.block.writes]
        if any(_is_in(of.source, written) and not _is_in(of.source, others) for of in each.block.reads):
            return False
        if not _tells_apart(each, loops, found.extents):
            return False
    return True


def _tells_apart(realize: SBlockRealize, loops: Sequence[tirx.For], extents: dict[tirx.Var, int]) -> bool:
    """Whether the places of a block's elements say which turn of `loops` it is: in some axis a loop's step is
    longer than all that loops of shorter steps, and those that are not of `loops`, add up to.
    """
    variables = list(extents)
    chosen = {loop.loop_var for loop in loops}
    told = {loop.loop_var for loop in loops if int(loop.extent) == 1}
    for axis, value in zip(realize.block.iter_vars, realize.iter_values, strict=True):
        if axis.iter_type != tirx.IterVar.DataPar:
            continue
        found = sym.detect_linear_equation(value, variables)
        if not found or not all(isinstance(each, tirx.IntImm) for each in found[:-1]):
            continue
        steps = {var: int(step) for var, step in zip(variables, found, strict=False) if int(step)}
        for var in chosen & steps.keys():
            rest = sum(
                abs(step) * (extents[other] - 1)
                for other, step in steps.items()
                if not other.same_as(var) and (other not in chosen or abs(step) <= abs(steps[var]))
            )
            if abs(steps[var]) > rest:
                told.add(var)
    return chosen <= told


class _Found:
    """What is in a nest."""

    def __init__(self, nest: Stmt) -> None:
        self.blocks: list[SBlockRealize] = []
        self.stored: list[tirx.Var] = []
        self.allocated: list[tirx.Var] = []
        self.extents: dict[tirx.Var, int] = {}
        self.is_a_program = False
        tvm_ffi.structural_walk(
            nest,
            [
                (SBlockRealize, self._block),
                (tirx.For, self._loop),
                (tirx.BufferStore, lambda found: self.stored.append(found.buffer)),
                ((tirx.AllocBuffer, tirx.While), self._program),
            ],
        )

    def _block(self, found: SBlockRealize) -> None:
        self.blocks.append(found)
        self.allocated.extend(found.block.alloc_buffers)

    def _loop(self, found: tirx.For) -> None:
        if _is_plain(found):
            self.extents[found.loop_var] = int(found.extent)

    def _program(self, found: Stmt) -> None:  # noqa: ARG002
        self.is_a_program = True


def _is_in(buffer: tirx.Var, buffers: Sequence[tirx.Var]) -> bool:
    return any(buffer.same_as(each) for each in buffers)
