"""A buffer between the blocks of a kernel becomes a parameter: memory that the caller plans and counts.

Allocated inside a kernel, whatever is too large for the stack would come from the runtime's heap.
"""

from __future__ import annotations

import tvm_ffi
from tvm import ir, s_tir, tirx
from tvm.s_tir import Schedule
from tvm.tirx import PrimFunc

_WORKSPACE = "armature.workspace"


def with_workspace(kernel: PrimFunc, count: int) -> PrimFunc:
    """The kernel, whose last `count` parameters are said to be memory that means nothing before and after."""
    return kernel.with_attr(_WORKSPACE, count)


def workspace_of(kernel: PrimFunc) -> int:
    """How many of the last parameters of a scheduled kernel mean nothing before and after."""
    return int(kernel.attrs.get(_WORKSPACE, 0))


def hoist(sch: Schedule, name: str, axes: int) -> None:
    """Make the buffer `name` of the kernel its last parameter, without the buffer's first `axes` axes.

    These axes must be the outermost loops of everything that touches the buffer: each turn then writes what
    it reads, and one place serves all turns. Nothing may be scheduled afterwards.
    """
    main = sch.mod["main"]
    root = main.body.block
    (old,) = (buffer for buffer in root.alloc_buffers if buffer.name == name)
    new = tirx.decl_buffer(old.ty.shape[axes:], old.ty.dtype, name)

    def load(found: tirx.BufferLoad) -> ir.Expr:
        return tirx.BufferLoad(new, found.indices[axes:]) if found.source.same_as(old) else found

    def store(found: tirx.BufferStore) -> tirx.Stmt:
        is_old = found.buffer.same_as(old)
        return tirx.BufferStore(new, found.value, found.indices[axes:]) if is_old else found

    def region(found: ir.TensorRegion) -> ir.TensorRegion:
        return ir.TensorRegion(new, found.region[axes:], found.ty) if found.source.same_as(old) else found

    body = tvm_ffi.structural_map(
        root.body, [(ir.TensorLoad, load), (tirx.BufferStore, store), (ir.TensorRegion, region)]
    )
    kept = [buffer for buffer in root.alloc_buffers if not buffer.same_as(old)]
    block = s_tir.SBlock([], [], [], root.name_hint, body, None, kept, None, root.annotations)
    sch.state.replace(sch.get_sref(sch.get_sblock("root")), block)
    # No primitive changes a function's parameters; the loops are those that the schedule now knows.
    main = sch.mod["main"]
    function = PrimFunc([*main.params, new], main.body, main.ret_type, main.attrs)
    function = with_workspace(function, workspace_of(main) + 1)
    sch.mod.update_func(sch.mod.get_global_var("main"), function)
