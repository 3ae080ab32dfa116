"""Kernels as plain C functions of pointers, in an object file: TVM's calling convention is left out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import tvm
from tvm import ir, tirx

from compile.passes.kernel_parameters import with_declarations
from targets.cores import Core

C_PACKED = 1
"""`tvm::CallingConv::kCPackedFunc`: MakePackedAPI takes such a function as lowered, and leaves it alone."""


def compile_kernels(kernels: Mapping[str, tirx.PrimFunc], core: Core, output: Path) -> None:
    """Compile `kernels`, by the symbols they get, to an object file: `void symbol(T *, ...)`, a pointer for
    each tensor, which must be aligned as its element is.
    """
    module = ir.IRModule({symbol: _plain(kernel, symbol) for symbol, kernel in kernels.items()})
    tvm.tirx.build(module, target=core.target()).write_to_file(str(output), "o")


def _plain(kernel: tirx.PrimFunc, symbol: str) -> tirx.PrimFunc:
    """The kernel with pointers for parameters; its body keeps its buffers, declared to begin there."""
    pointers = [
        tirx.Var(tensor.name, ir.PointerType(ir.PrimType(str(tensor.ty.dtype)))) for tensor in kernel.params
    ]
    declarations = [
        tirx.DeclBuffer(tensor, data=pointer) for tensor, pointer in zip(kernel.params, pointers, strict=True)
    ]
    body = with_declarations(kernel.body, declarations)
    plain = tirx.PrimFunc(pointers, body, kernel.ret_type, kernel.attrs, kernel.span)
    return plain.with_attr("global_symbol", symbol).with_attr("calling_conv", C_PACKED)
