"""Each kernel gets its schedule for the core, and the constants it reads the layout that it asks for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from tvm import ir, relax
from tvm.relax.expr_functor import mutator
from tvm.tirx import PrimFunc

from compile.passes.constants import Array, array_of, constant
from compile.passes.rewriter import Rewriter
from schedules import elementwise
from schedules.apply import Scheduled, schedule_kernel
from schedules.kernel import Workload
from targets.cores import Core


@dataclass(frozen=True)
class Kernel:
    """One call of a kernel in the network, in the order of execution."""

    name: str
    """The TIR function's name; calls of one function share it."""
    workload: Workload | None
    origin: str

    @property
    def kind(self) -> str:
        """The kind whose file scheduled it."""
        return self.workload.kind if self.workload else elementwise.KIND


Scheduler = Callable[[PrimFunc, Core], Scheduled]
"""Schedules one kernel for a core."""


def schedule_kernels(
    module: ir.IRModule, core: Core, scheduler: Scheduler = schedule_kernel
) -> tuple[ir.IRModule, list[Kernel]]:
    """Schedule every kernel of a lowered module for `core`, and pack the constants they read.

    Returns the module and the kernels in the order in which `main` calls them.
    """
    scheduled = {
        str(var.name_hint): scheduler(function, core)
        for var, function in module.functions_items()
        if isinstance(function, PrimFunc)
    }
    packer = _Packer(scheduled)
    main = module.get_global_var("main")
    packer.builder_.update_func(main, packer.visit_expr(module[main]))
    return packer.builder_.get(), packer.kernels


@mutator
class _Packer(Rewriter):
    """Rebuilds `main` in a new module: a kernel whose weights are packed has another type than before."""

    def __init__(self, scheduled: dict[str, Scheduled]) -> None:
        super().__init__(ir.IRModule())
        self.scheduled = scheduled
        self.vars = {
            name: self.builder_.add_func(kernel.function, name) for name, kernel in scheduled.items()
        }
        self.kernels: list[Kernel] = []

    def visit_call_(self, call: ir.Call) -> ir.Expr:
        call = self.visit_expr_post_order(call)
        if getattr(call.op, "name", "") != "relax.call_tir":
            return call
        name = str(call.args[0].name_hint)
        kernel = self.scheduled[name]
        var = self.vars[name]  # of another name, where a kernel became equal to it
        self.kernels.append(Kernel(str(var.name_hint), kernel.workload, kernel.origin))
        arguments = [
            _packed(argument, parameter.ty.shape)
            for argument, parameter in zip(call.args[1].fields, kernel.function.params, strict=False)
        ]
        results = call.ty_args[0]
        types = list(results.fields) if isinstance(results, relax.TupleType) else [results]
        workspace = kernel.function.params[len(arguments) + len(types) :]
        if not workspace:
            return relax.call_tir(var, arguments, types)
        types += [relax.TensorType(parameter.ty.shape, parameter.ty.dtype) for parameter in workspace]
        called = self.builder_.emit(relax.call_tir(var, arguments, types))
        return relax.TupleGetItem(called, 0)


def _packed(argument: ir.Expr, shape: ir.Array) -> ir.Expr:
    value = array_of(argument)
    if value is None:
        return argument
    wanted = [int(extent) for extent in shape]
    return argument if list(value.shape) == wanted else constant(laid_out(value, wanted))


def laid_out(value: Array, shape: Sequence[int]) -> Array:
    """A logical parameter as a scheduled kernel wants it, of `shape`: filled up with zeros and, where it has
    one more axis, packed.
    """
    is_packed = len(shape) > value.ndim
    whole = [*shape[1:-1], shape[0] * shape[-1]] if is_packed else list(shape)
    padding = [(0, want - have) for want, have in zip(whole, value.shape, strict=True)]
    padded = np.pad(value, padding)
    return pack(padded, shape[-1]) if is_packed else padded


def pack(weight: Array, panel: int) -> Array:
    """`weight` [..., outputs] in panels of `panel` outputs: [outputs / panel, ..., panel]."""
    *inner, outputs = weight.shape
    return np.moveaxis(weight.reshape(*inner, outputs // panel, panel), -2, 0)
