"""Kernels as plain C functions of pointers, in an object file: TVM's calling convention is left out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import tvm
import tvm_ffi
from tvm import ir, tirx
from tvm.target import Target

from compile.c_library.errors import NoCLibraryError
from compile.passes.kernel_parameters import buffer_bytes, with_declarations
from schedules.share import resolved

C_PACKED = 1
"""`tvm::CallingConv::kCPackedFunc`: MakePackedAPI takes such a function as lowered, and leaves it alone."""

STACK_BYTES = 1024
"""`tvm::runtime::kMaxStackAlloca`: LowerTVMBuiltin asks the runtime for a buffer from this size on."""

RUNTIME_CALLS = frozenset({"tirx.tvm_call_packed", "tirx.tvm_call_cpacked"})


def compile_kernels(
    kernels: Mapping[str, tirx.PrimFunc], target: Target, output: Path
) -> Mapping[str, tuple[int, ...]]:
    """Compile `kernels`, by the symbols they get, to an object file: `void symbol(T *, ...)`, a pointer for
    each tensor, which must be aligned as its element is; then one for each scratch buffer that it needs. A
    `schedules.share.Share` has three integers before these.

    Returns the bytes of these, by symbol. Raises NoCLibraryError where a kernel calls TVM's runtime.
    """
    target = target.with_host(target)
    module = ir.IRModule({symbol: _plain(kernel, symbol) for symbol, kernel in kernels.items()})
    module = tirx.transform.BindTarget(target)(module)
    lower, finalize, _ = tirx.get_default_tir_pipeline(target)
    module = lower(module)
    scratch = {}
    for var, kernel in module.functions_items():
        unscoped = _without_scopes(resolved(kernel))
        buffers = _scratch_buffers(unscoped)
        module.update_func(var, _given(unscoped, buffers))
        scratch[str(kernel.attrs["global_symbol"])] = tuple(map(buffer_bytes, buffers))
    generate = tvm.get_global_func("target.build.llvm")
    generate(finalize()(module), target).write_to_file(str(output), "o")
    return scratch


def _plain(kernel: tirx.PrimFunc, symbol: str) -> tirx.PrimFunc:
    """The kernel with pointers for parameters; its body keeps its buffers, declared to begin there."""
    _require_plain_calls(kernel)
    pointers = {
        position: _pointer(each)
        for position, each in enumerate(kernel.params)
        if tirx.buffer.is_buffer_var(each)
    }
    declarations = [
        tirx.DeclBuffer(kernel.params[position], data=pointer) for position, pointer in pointers.items()
    ]
    body = with_declarations(kernel.body, declarations)
    params = [pointers.get(position, each) for position, each in enumerate(kernel.params)]
    plain = tirx.PrimFunc(params, body, kernel.ret_type, kernel.attrs, kernel.span)
    return plain.with_attr("global_symbol", symbol).with_attr("calling_conv", C_PACKED)


def _require_plain_calls(kernel: tirx.PrimFunc) -> None:
    called: list[str] = []

    def collect(call: ir.Call) -> None:
        if getattr(call.op, "name", "") in RUNTIME_CALLS:
            called.append(str(call.args[0].value))

    tvm_ffi.structural_walk(kernel.body, (ir.Call, collect))
    if called:
        raise NoCLibraryError(
            f"This network cannot be a C library: it needs {called[0]} of TVM's runtime.\n"
            "Compile it as a bundle (--format bundle), or leave that operator out of the model."
        )


def _without_scopes(kernel: tirx.PrimFunc) -> tirx.PrimFunc:
    """The lowered kernel with its local buffers as any other.

    LowerTVMBuiltin puts small buffers on the stack; where MakePackedAPI names no device, only those without a
    scope, and asks the runtime for the rest.
    """
    plain: dict[ir.Var, ir.Var] = {}

    def collect(allocation: tirx.AllocBuffer) -> None:
        buffer = allocation.buffer
        if buffer.scope() == "local":
            plain[buffer] = tirx.decl_buffer(buffer.ty.shape, buffer.ty.dtype, buffer.name)

    tvm_ffi.structural_walk(kernel.body, (tirx.AllocBuffer, collect))
    if not plain:
        return kernel
    body = tvm_ffi.structural_map(kernel.body, (ir.Var, lambda var: plain.get(var, var)))
    return tirx.PrimFunc(kernel.params, body, kernel.ret_type, kernel.attrs, kernel.span)


def _scratch_buffers(kernel: tirx.PrimFunc) -> list[ir.Var]:
    """The buffers of a lowered kernel that are too big for the stack."""
    found: list[ir.Var] = []

    def collect(allocation: tirx.AllocBuffer) -> None:
        if buffer_bytes(allocation.buffer) >= STACK_BYTES:
            found.append(allocation.buffer)

    tvm_ffi.structural_walk(kernel.body, (tirx.AllocBuffer, collect))
    return found


def _given(kernel: tirx.PrimFunc, buffers: list[ir.Var]) -> tirx.PrimFunc:
    """The kernel with pointers to `buffers` as further parameters, in place of its allocations of them."""
    pointers = [_pointer(buffer) for buffer in buffers]

    def declare(allocation: tirx.AllocBuffer) -> tirx.Stmt:
        for buffer, pointer in zip(buffers, pointers, strict=True):
            if allocation.buffer.same_as(buffer):
                return tirx.DeclBuffer(buffer, data=pointer)
        return allocation

    body = tvm_ffi.structural_map(kernel.body, (tirx.AllocBuffer, declare)) if buffers else kernel.body
    return tirx.PrimFunc([*kernel.params, *pointers], body, kernel.ret_type, kernel.attrs, kernel.span)


def _pointer(buffer: ir.Var) -> ir.Var:
    return tirx.Var(buffer.name, ir.PointerType(ir.PrimType(str(buffer.ty.dtype))))
