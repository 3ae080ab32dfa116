"""Kernels count with 32 bits before they are scheduled, as they will when they are compiled.

Relax writes them with 64-bit indices, and TVM narrows them after scheduling (NarrowDataType): there it puts
new variables in the loops, but not in their hints to partition them (TVM 0.27). Tails and borders would then
be tested for at every element.
"""

from __future__ import annotations

import math

from tvm import ir, tirx
from tvm.s_tir import Schedule
from tvm.tirx import PrimFunc

from schedules.kernel import workload_of

WIDE = ("int64", "uint64")
"""Data as wide as indices are: a kernel that has some is left alone, since it would be narrowed too."""


@ir.transform.module_pass(opt_level=0)
class NarrowIndices:
    """Narrow the indices of every kernel of our kinds without 64-bit data and tensors of 2**31 elements."""

    def transform_module(self, module: ir.IRModule, _context: object) -> ir.IRModule:
        """The module with its kernels narrowed."""
        updated = module.clone()
        for var, function in module.functions_items():
            if isinstance(function, PrimFunc) and _can_narrow(function):
                updated.update_func(var, _narrowed(function))
        return updated


def _narrowed(function: PrimFunc) -> PrimFunc:
    narrow = tirx.transform.ForceNarrowIndexToInt32()
    (result,) = narrow(ir.IRModule({"main": function})).functions.values()
    return result


def _can_narrow(function: PrimFunc) -> bool:
    if workload_of(Schedule(function)) is None:
        return False
    buffers = [*filter(tirx.buffer.is_buffer_var, function.params), *function.body.block.alloc_buffers]
    return all(
        str(buffer.ty.dtype) not in WIDE
        and all(isinstance(extent, int | tirx.IntImm) for extent in buffer.ty.shape)
        and math.prod(int(extent) for extent in buffer.ty.shape) < 2**31
        for buffer in buffers
    )
