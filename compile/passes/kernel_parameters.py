"""What a kernel promises of its parameters: where a tensor may begin, and whether two may share memory."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

from tvm import DataType, ir, s_tir, tirx

from compile.passes.arena import ALIGNMENT


def accept_offsets(
    kernel: tirx.PrimFunc, positions: Collection[int], unaligned: Collection[int] = ()
) -> tirx.PrimFunc:
    """The kernel with the parameters at `positions` free to begin at any multiple of ALIGNMENT bytes, and
    those of them that are `unaligned` at any element.

    TVM's kernels demand that a tensor's `byte_offset` is zero, and its VM allocates at an offset by setting
    it (`StorageObj::AllocTensor`, tvm/src/runtime/memory/memory_manager.cc). A parameter whose buffer has an
    element offset of its own, a multiple of `offset_factor`, takes either. The body keeps its buffers, which
    are declared to begin there: with the offset in its own indices TVM 0.27 fails in NarrowDataType.
    """
    parameters, declarations = list(kernel.params), []
    for position in sorted(positions):
        inside = parameters[position]
        parameters[position] = _at_offset(inside, 1 if position in unaligned else ALIGNMENT)
        first = tirx.BufferLoad(parameters[position], [0] * len(inside.ty.shape))
        declarations.append(tirx.DeclBuffer(inside, data=tirx.address_of(first)))
    body = with_declarations(kernel.body, declarations)
    return tirx.PrimFunc(parameters, body, kernel.ret_type, kernel.attrs, kernel.span)


def with_declarations(body: tirx.Stmt, declarations: Sequence[tirx.Stmt]) -> tirx.Stmt:
    """The body of a kernel, a block, that begins with `declarations` of its buffers."""
    root = body.block
    block = s_tir.SBlock(
        root.iter_vars,
        root.reads,
        root.writes,
        root.name_hint,
        tirx.SeqStmt([*declarations, root.body]),
        root.init,
        root.alloc_buffers,
        root.match_buffers,
        root.annotations,
    )
    return s_tir.SBlockRealize(body.iter_values, body.predicate, block)


def _at_offset(parameter: ir.Expr, alignment: int) -> ir.Expr:
    buffer = parameter.ty
    element = item_bytes(str(buffer.dtype))
    return tirx.decl_buffer(
        buffer.shape,
        buffer.dtype,
        parameter.name,
        strides=buffer.strides,
        elem_offset=tirx.Var(f"{parameter.name}_offset", "int64"),
        scope=parameter.scope(),
        data_alignment=max(element, min(alignment, buffer.data_alignment)),
        offset_factor=max(1, alignment // element),
        layout=buffer.layout,
    )


def allow_aliases(kernel: tirx.PrimFunc) -> tirx.PrimFunc:
    """The kernel without the promise that no two of its parameters share memory."""
    return kernel.without_attr("tirx.noalias")


def item_bytes(dtype: str) -> int:
    """Bytes of an element of `dtype`."""
    return (int(DataType(dtype).bits) * int(DataType(dtype).lanes) + 7) // 8


def buffer_bytes(buffer: ir.Var) -> int:
    """Bytes of a buffer."""
    return math.prod(int(extent) for extent in buffer.ty.shape) * item_bytes(str(buffer.ty.dtype))
