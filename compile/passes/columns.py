"""A kernel whose output is some columns of a wider tensor, instead of a tensor of its own."""

from __future__ import annotations

import tvm_ffi
from tvm import ir, tirx


def in_columns(kernel: tirx.PrimFunc, position: int, start: int, columns: int) -> tirx.PrimFunc | None:
    """The scheduled kernel with the parameter at `position`, [..., n], as the columns from `start` on of one
    that is [..., columns]; None where the parameter is used other than by its elements.

    Written-out loops (schedules/calls.py) are given addresses of elements, so that they find the next pixel
    by the wider tensor's pitch.
    """
    narrow = kernel.params[position]
    *outer, own = (int(extent) for extent in narrow.ty.shape)
    if narrow.ty.strides or start + own > columns:
        return None
    wide = tirx.decl_buffer(
        (*outer, columns), narrow.ty.dtype, narrow.name, data_alignment=narrow.ty.data_alignment
    )
    mapped = 0

    def index(indices: ir.Array) -> list[ir.Expr]:
        nonlocal mapped
        mapped += 1
        *before, last = indices
        return [*before, last + start]

    def load(found: ir.TensorLoad) -> ir.Expr:
        return tirx.BufferLoad(wide, index(found.indices)) if found.source.same_as(narrow) else found

    def store(found: tirx.BufferStore) -> tirx.Stmt:
        if not found.buffer.same_as(narrow):
            return found
        return tirx.BufferStore(wide, found.value, index(found.indices))

    def region(found: ir.TensorRegion) -> ir.TensorRegion:
        if not found.source.same_as(narrow):
            return found
        *before, last = found.region
        moved = ir.Range.from_min_extent(last.min + start, last.extent)
        index([last.min])
        return ir.TensorRegion(wide, [*before, moved], found.ty)

    used = _occurrences(kernel.body, narrow)
    body = tvm_ffi.structural_map(
        kernel.body, [(ir.TensorLoad, load), (tirx.BufferStore, store), (ir.TensorRegion, region)]
    )
    if mapped != used:
        return None
    parameters = [wide if at == position else each for at, each in enumerate(kernel.params)]
    return tirx.PrimFunc(parameters, body, kernel.ret_type, kernel.attrs, kernel.span)


def _occurrences(body: tirx.Stmt, buffer: ir.Expr) -> int:
    found: list[ir.Expr] = []
    tvm_ffi.structural_walk(body, (ir.Var, lambda var: found.append(var) if var.same_as(buffer) else None))
    return len(found)
