"""A kernel's epilogue as TIR, and how much of it a written-out loop takes upon itself (finish.py)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import tvm_ffi
from tvm import ir, tirx
from tvm.s_tir import SBlock

from schedules.clamp import bound_bits
from schedules.finish import ADD, MAX, MIN, Finish
from schedules.strips import substituted

_CLAMPS = {ir.prim.expr.Max: MAX, ir.prim.expr.Min: MIN}


@dataclass(frozen=True)
class Epilogue:
    """What the block that makes a kernel's output does with each sum."""

    finish: Finish
    """What the loop may do of it."""
    operands: tuple[ir.TensorLoad, ...]
    """What `finish` wants besides the sums: the output if it is stored, the bias, and what is added."""
    axes: tuple[ir.Expr, ...]
    """Where the sum is, as the block names it."""
    rest: ir.Expr
    """What the block still has to do, where the loop leaves sums."""

    def at(self, place: Sequence[ir.Expr]) -> list[ir.Expr]:
        """The operands of the sum at `place`."""
        found: list[ir.Expr] = list(self.operands)
        for axis, value in zip(self.axes, place, strict=True):
            if isinstance(axis, tirx.Var):
                found = [substituted(each, axis, value) for each in found]
        return found


def epilogue_of(block: SBlock, sums: tirx.Var, may_store: bool) -> Epilogue:
    """The epilogue in a block that reads the buffer `sums`; the loop stores the output only if it `may_store`
    and all of the epilogue is known to it.
    """
    store = block.body
    loads = [load for load in _loads(store.value) if load.source.same_as(sums)]
    bias, rest = _without_bias(store.value, loads)
    start = [] if bias is None else [bias]
    finish = Finish(bias=bias is not None)
    steps = _operations(rest, loads[0], block) if may_store else None
    if steps is not None:
        output = tirx.BufferLoad(store.buffer, store.indices)
        operations, others = steps
        finish = Finish(bias is not None, operations, stored=True)
        start = [output, *start, *others]
    return Epilogue(finish, tuple(start), tuple(loads[0].indices), rest)


def _without_bias(value: ir.Expr, loads: Sequence[ir.TensorLoad]) -> tuple[ir.TensorLoad | None, ir.Expr]:
    """The bias that is added to every sum, and what is made of the sum that has it; None and all of `value`
    if there is none.
    """
    found: list[ir.TensorLoad] = []

    def dropped(added: ir.Expr) -> ir.Expr:
        for total, other in ((added.a, added.b), (added.b, added.a)):
            if any(total.same_as(load) for load in loads) and _is_bias(other, total):
                found.append(other)
                return total
        return added

    rest = tvm_ffi.structural_map(value, (ir.prim.expr.Add, dropped))
    if len(found) < len(loads) or not all(tvm_ffi.structural_equal(each, found[0]) for each in found):
        return None, value
    # Where the output is one pixel, the bias has its shape, and its load the block's variables.
    *others, channel = found[0].indices
    return tirx.BufferLoad(found[0].source, [*([0] * len(others)), channel]), rest


def _operations(
    value: ir.Expr, total: ir.TensorLoad, block: SBlock
) -> tuple[tuple[tuple[str, int], ...], list[ir.TensorLoad]] | None:
    """The operations that make `value` of the sum, and what is added; None when one is not known."""
    if isinstance(value, ir.TensorLoad) and value.source.same_as(total.source):
        return (), []
    if type(value) in _CLAMPS:
        inner, bound = _operations(value.a, total, block), bound_bits(value.b)
        if inner is None or bound is None:
            return None
        return (*inner[0], (_CLAMPS[type(value)], bound)), inner[1]
    if isinstance(value, ir.prim.expr.Add):
        for part, other in ((value.a, value.b), (value.b, value.a)):
            inner = _operations(part, total, block)
            if inner is not None and not inner[1] and _is_same_place(other, block):
                return (*inner[0], (ADD, 0)), [other]
    return None


def _is_same_place(value: ir.Expr, block: SBlock) -> bool:
    """Whether a value is the element of a tensor that lies where the block writes its output."""
    return isinstance(value, ir.TensorLoad) and _are_equal(value.indices, block.body.indices)


def _is_bias(value: ir.Expr, total: ir.TensorLoad) -> bool:
    if not isinstance(value, ir.TensorLoad):
        return False
    *others, _ = value.source.ty.shape
    return value.indices[-1].same_as(total.indices[-1]) and all(int(extent) == 1 for extent in others)


def _loads(value: ir.Expr) -> list[ir.TensorLoad]:
    found: list[ir.TensorLoad] = []

    def note(load: ir.TensorLoad) -> ir.TensorLoad:
        found.append(load)
        return load

    tvm_ffi.structural_map(value, (ir.TensorLoad, note))
    return found


def _are_equal(some: ir.Array, others: ir.Array) -> bool:
    return len(some) == len(others) and all(map(tvm_ffi.structural_equal, some, others))
