"""Which parameter a kernel may write its output over: a residual that it reads only where it writes.

Safe when no element of the parameter is read after the output's element in its place was written. Proved of
the scheduled kernel, or refused:

- one block writes the output, by one store, and each element once: the map from the loops to the store's
  indices is one to one;
- nothing reads the output;
- the parameter is read by that store alone, at the store's own indices.

A written-out loop is known to keep to this (`schedules.splice.ADDED`); nothing else may name either buffer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import tvm_ffi
from tvm import ir, s_tir, sym, tirx
from tvm.sym.iter_affine_map import IterMapLevel

from schedules.splice import ADDED

Loops = Mapping[tirx.Var, ir.Range]


def overwritable(kernel: tirx.PrimFunc) -> tuple[int, ...]:
    """The positions of parameters whose memory the kernel's output, its last parameter, may share."""
    *parameters, output = kernel.params
    if not isinstance(kernel.body, s_tir.SBlockRealize):
        return ()
    blocks = list(_blocks(kernel.body.block.body, {}))
    adders = [realize.block for realize, _ in blocks if ADDED in realize.block.annotations]
    if adders:
        return tuple(
            position
            for position, parameter in enumerate(parameters)
            if _alike(parameter, output) and _is_added(kernel.body, adders, parameter, output)
        )
    writers = [
        (realize, loops)
        for realize, loops in blocks
        if isinstance(realize.block.body, tirx.BufferStore) and realize.block.body.buffer.same_as(output)
    ]
    if len(writers) != 1 or _occurrences(kernel.body, output) != 1 or not _writes_once(*writers[0]):
        return ()
    store = writers[0][0].block.body
    return tuple(
        position
        for position, parameter in enumerate(parameters)
        if _alike(parameter, output)
        and 0 < _occurrences(kernel.body, parameter) == _loads_in_place(store, parameter)
    )


def _blocks(statement: tirx.Stmt, loops: Loops) -> Iterator[tuple[s_tir.SBlockRealize, Loops]]:
    """The blocks that plain loops lead to, with these loops."""
    if isinstance(statement, tirx.For):
        span = ir.Range.from_min_extent(statement.min, statement.extent)
        yield from _blocks(statement.body, {**loops, statement.loop_var: span})
    elif isinstance(statement, tirx.SeqStmt):
        for part in statement.seq:
            yield from _blocks(part, loops)
    elif isinstance(statement, s_tir.SBlockRealize):
        yield statement, loops
        yield from _blocks(statement.block.body, loops)


def _is_added(body: tirx.Stmt, adders: list[s_tir.SBlock], parameter: ir.Expr, output: ir.Expr) -> bool:
    """Whether a written-out loop adds `parameter` to what it stores in `output`, and only that.

    A call of it names two pixels of each.
    """
    if len(adders) != 1 or not adders[0].reads[-1].source.same_as(parameter):
        return False
    inside = _occurrences(adders[0].body, output)
    return _occurrences(body, output) == inside == _occurrences(body, parameter)


def _writes_once(realize: s_tir.SBlockRealize, loops: Loops) -> bool:
    """Whether no two turns of the loops store at the same indices."""
    values = {
        axis.var: value for axis, value in zip(realize.block.iter_vars, realize.iter_values, strict=True)
    }
    indices = [
        tvm_ffi.structural_map(index, (tirx.Var, lambda var: values.get(var, var)))
        for index in realize.block.body.indices
    ]
    found = sym.detect_iter_map(indices, loops, realize.predicate, IterMapLevel.Bijective)
    return not found.errors and len(found.indices) == len(indices)


def _alike(parameter: ir.Expr, output: ir.Expr) -> bool:
    same_type: bool = parameter.ty.dtype == output.ty.dtype
    return same_type and tvm_ffi.structural_equal(parameter.ty.shape, output.ty.shape)


def _occurrences(body: tirx.Stmt, buffer: ir.Expr) -> int:
    """How often `buffer` is named in what is executed: not in the regions that blocks declare to touch."""
    named: list[ir.Expr] = []
    declared: list[ir.Expr] = []
    tvm_ffi.structural_walk(body, (tirx.Var, lambda var: named.append(var) if var.same_as(buffer) else None))

    def count_declared(block: s_tir.SBlock) -> None:
        regions = (*block.reads, *block.writes)
        declared.extend(region for region in regions if region.source.same_as(buffer))

    tvm_ffi.structural_walk(body, (s_tir.SBlock, count_declared))
    return len(named) - len(declared)


def _loads_in_place(store: tirx.BufferStore, buffer: ir.Expr) -> int:
    """How often `buffer` is read at the store's own indices."""
    found: list[ir.TensorLoad] = []

    def count(load: ir.TensorLoad) -> None:
        if load.source.same_as(buffer) and tvm_ffi.structural_equal(load.indices, store.indices):
            found.append(load)

    tvm_ffi.structural_walk(store.value, (ir.TensorLoad, count))
    return len(found)
