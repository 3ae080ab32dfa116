"""What is tuned: the distinct kernels of some networks, as they are before they are scheduled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import tvm
from tvm import ir, relax
from tvm.s_tir import Schedule
from tvm.tirx import PrimFunc
from tvm_ffi import structural_hash

from compile.lower import fuse
from compile.passes.constants import array_of
from schedules.apply import kinds
from schedules.kernel import Workload, workload_of
from targets.cores import Core

MAIN = "main"


@dataclass
class Task:
    """A kernel to tune, and how often each network calls it."""

    module: ir.IRModule
    """One function, `main`: the kernel before scheduling."""
    workload: Workload
    roles: tuple[str, ...]
    """Of each parameter: `constant` for weights, `data`, and `output`."""
    calls: dict[str, int] = field(default_factory=dict)
    """Calls in an inference, by network."""

    @property
    def function(self) -> PrimFunc:
        """A copy of the kernel: replaying a trace may change the function itself, where it annotates the
        root block (MetaSchedule copies for this reason: DeepCopyIRModule).
        """
        copy: ir.IRModule = ir.load_json(self.text)
        return copy[MAIN]

    @cached_property
    def text(self) -> str:
        """The module as JSON."""
        return str(ir.save_json(self.module))

    @cached_property
    def key(self) -> str:
        """What tells the kernel from others, in records and across machines."""
        return str(structural_hash(self.module))

    @property
    def all_calls(self) -> int:
        """Calls by all networks."""
        return sum(self.calls.values())

    def __str__(self) -> str:
        return f"{self.workload.kind} {self.workload}"


def plain_module(function: PrimFunc) -> ir.IRModule:
    """The kernel as records know it: alone, and without the name that a network gave it."""
    return ir.IRModule({MAIN: function.with_attr("global_symbol", MAIN).without_attr("op_pattern")})


def tasks_of(networks: Mapping[str, ir.IRModule], core: Core) -> list[Task]:
    """The distinct kernels of `networks` (Relax modules by name) that have a space, in order of execution."""
    found: dict[str, Task] = {}
    for name, module in networks.items():
        fused = fuse(module, core)
        for call in _kernel_calls(fused):
            function = fused[call.args[0]]
            workload = workload_of(Schedule(function))
            if workload is None or workload.kind not in kinds():
                continue
            task = Task(plain_module(function), workload, _roles(call, function))
            task = found.setdefault(task.key, task)
            task.calls[name] = task.calls.get(name, 0) + 1
    return list(found.values())


def _kernel_calls(module: ir.IRModule) -> list[ir.Call]:
    calls: list[ir.Call] = []

    def visit(expression: ir.Expr) -> None:
        if isinstance(expression, ir.Call) and getattr(expression.op, "name", "") == "relax.call_tir":
            calls.append(expression)

    relax.analysis.post_order_visit(module[MAIN], visit)
    return calls


def _roles(call: ir.Call, function: PrimFunc) -> tuple[str, ...]:
    arguments = ["data" if array_of(each) is None else "constant" for each in call.args[1].fields]
    return (*arguments, *["output"] * (len(function.params) - len(arguments)))


def build(scheduled: PrimFunc, symbol: str, core: Core) -> tvm.runtime.Module:
    """A scheduled kernel as code for `core`, its function being called `symbol`."""
    module = ir.IRModule({symbol: scheduled.with_attr("global_symbol", symbol)})
    return tvm.tirx.build(module, target=core.target())
