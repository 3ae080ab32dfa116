"""Each kernel gets its schedule for the core, and the constants it reads the layout that it asks for."""

from __future__ import annotations

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


def schedule_kernels(module: ir.IRModule, core: Core) -> tuple[ir.IRModule, list[Kernel]]:
    """Schedule every kernel of a lowered module for `core`, and pack the constants they read.

    Returns the module and the kernels in the order in which `main` calls them.
    """
    scheduled = {
        str(var.name_hint): schedule_kernel(function, core)
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
        self.kernels.append(Kernel(name, kernel.workload, kernel.origin))
        arguments = [
            _packed(argument, parameter.ty.shape)
            for argument, parameter in zip(call.args[1].fields, kernel.function.params, strict=False)
        ]
        results = call.ty_args[0]
        types = list(results.fields) if isinstance(results, relax.TupleType) else results
        return relax.call_tir(self.vars[name], arguments, types)


def _packed(argument: ir.Expr, shape: ir.Array) -> ir.Expr:
    wanted = [int(extent) for extent in shape]
    value = array_of(argument)
    if value is None or list(value.shape) == wanted:
        return argument
    return constant(pack(value, wanted[-1]))


def pack(weight: Array, panel: int) -> Array:
    """`weight` [..., outputs] in panels of `panel` outputs: [outputs / panel, ..., panel]."""
    *inner, outputs = weight.shape
    return np.moveaxis(weight.reshape(*inner, outputs // panel, panel), -2, 0)
