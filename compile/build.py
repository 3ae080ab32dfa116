"""From scheduled kernels to a shared library for the board, and what it will need in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tvm import ir, relax, transform

from compile.lower import Lowered
from compile.passes.constants import array_of
from compile.passes.plan_memory import Plan, PlanMemory, plan_memory
from compile.passes.schedule_kernels import Kernel
from compile.passes.side_by_side import SideBySide
from targets.cores import Core
from targets.toolchain import link_shared


def build_library(lowered: Lowered, core: Core, output: Path) -> None:
    """Compile the kernels and the Relax VM's program for `core` and link them into `output`."""
    # The program is compiled like the kernels: as bytecode it takes more instructions (docs/memory.md).
    pipeline = finish(lowered)
    program = relax.build(lowered.module, core.target(), relax_pipeline=pipeline, exec_mode="compiled")
    program.export_library(str(output), fcompile=_link)


def finish(lowered: Lowered) -> transform.Sequential:
    """The passes from scheduled kernels to the VM's program: TVM's own, but for the memory plan."""
    return transform.Sequential(
        [
            *_TO_ALLOCATIONS,
            PlanMemory(_in_place(lowered)),
            relax.transform.LowerAllocTensor(),
            relax.transform.KillAfterLastUse(),
            relax.transform.LowerRuntimeBuiltin(),
            relax.transform.ComputePrimValue(),
            relax.transform.VMShapeLower(),
            relax.transform.AttachGlobalSymbol(),
        ]
    )


IN_PLACE = frozenset({"pointwise", "elementwise"})
"""Kinds whose kernels may write over a residual, where `compile.passes.in_place` proves it safe."""


def _in_place(lowered: Lowered) -> frozenset[str]:
    return frozenset(kernel.name for kernel in lowered.kernels if kernel.kind in IN_PLACE)


_TO_ALLOCATIONS = (
    relax.backend.DispatchSampling(),
    relax.backend.DispatchSortScan(),
    relax.transform.LegalizeOps(),
    relax.transform.RewriteDataflowReshape(),
    relax.transform.ToNonDataflow(),
    relax.transform.RemovePurityChecking(),
    relax.transform.CallTIRRewrite(),
    # The results of a kernel with a workspace come as a tuple: what reads it reads the tensors again.
    relax.transform.CanonicalizeBindings(),
    relax.transform.DeadCodeElimination(),
    SideBySide(),
)
"""What is left as operators becomes kernels, and kernels write into tensors that `main` allocates."""


def _link(output: str, objects: Sequence[str], **_options: Any) -> None:
    link_shared([Path(path) for path in objects], Path(output))


def allocated(lowered: Lowered, core: Core) -> tuple[ir.IRModule, Plan]:
    """The module whose `main` calls kernels that write into tensors it allocates, and where those lie."""
    with core.target():
        module = transform.Sequential(list(_TO_ALLOCATIONS))(lowered.module)
    return module, plan_memory(module, _in_place(lowered))


def memory_plan(lowered: Lowered, core: Core) -> Plan:
    """Where the library will have its activations."""
    return allocated(lowered, core)[1]


def executed(lowered: Lowered, plan: Plan) -> list[Kernel]:
    """The scheduled kernels that an inference calls, in order, as they are named in the library: without
    the concatenations that have nothing to do.
    """
    scheduled = iter(lowered.kernels)
    names = {kernel.name for kernel in lowered.kernels}
    return [
        replace(next(kernel for kernel in scheduled if kernel.name == name), name=str(var.name_hint))
        for var, name in zip(plan.calls, plan.scheduled_as, strict=True)
        if name in names
    ]


def weight_bytes(lowered: Lowered) -> int:
    """Bytes of the constants that the network reads, as packed; equal ones are stored once."""
    sizes: dict[tuple[object, ...], int] = {}

    def count(expression: ir.Expr) -> None:
        value = array_of(expression)
        if value is not None:
            content = hashlib.sha256(value.tobytes()).digest()
            sizes[value.shape, value.dtype.str, content] = value.nbytes

    relax.analysis.post_order_visit(lowered.module["main"], count)
    return sum(sizes.values())
