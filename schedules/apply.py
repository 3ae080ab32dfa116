"""From a kernel to its scheduled form for a core: finds the kind that owns it and applies its decisions."""

from __future__ import annotations

import functools
import importlib
import pkgutil
from dataclasses import dataclass
from types import ModuleType

from tvm.s_tir import Schedule
from tvm.tirx import PrimFunc

import schedules
from schedules import elementwise
from schedules.kernel import Decisions, Workload, workload_of
from schedules.space import Decider, First
from schedules.splice import splice
from targets.cores import Core

DEFAULT = "default"
"""The kind's own choice for the core."""


@dataclass(frozen=True)
class Scheduled:
    """A kernel as it will be compiled, and where its schedule came from."""

    function: PrimFunc
    workload: Workload | None
    """None for a kernel of no kind of its own (`elementwise`)."""
    origin: str
    """DEFAULT, or what the scheduler that chose it says."""


@functools.cache
def kinds() -> dict[str, ModuleType]:
    """The kinds by name: every module of this package that can schedule a workload."""
    modules = (
        importlib.import_module(f"{schedules.__name__}.{info.name}")
        for info in pkgutil.iter_modules(schedules.__path__)
    )
    return {
        module.KIND: module for module in modules if hasattr(module, "KIND") and hasattr(module, "decide")
    }


def decide(sch: Schedule, core: Core, decider: Decider) -> Decisions:
    """What `decider` chooses for the kernel of `sch`, which is not scheduled yet.

    Raises InadmissibleError where `decider` does, ValueError for a kernel of no kind that has a space.
    """
    workload = workload_of(sch)
    if workload is None:
        raise ValueError("the kernel is of no kind that has a space")
    decisions: Decisions = kinds()[workload.kind].decide(workload, core, decider)
    return decisions


def apply(sch: Schedule, core: Core, decider: Decider) -> Workload | None:
    """Schedule the kernel of `sch` for `core` by what `decider` chooses; nothing may be scheduled afterwards.

    A kernel of a kind that has no schedule is written out already. Returns its workload. Raises
    InadmissibleError where `decider` does.
    """
    workload = workload_of(sch)
    if workload is None:
        elementwise.schedule(sch)
    elif workload.kind in kinds():
        kind = kinds()[workload.kind]
        kind.schedule(sch, kind.decide(workload, core, decider))
    splice(sch)
    return workload


def schedule_kernel(function: PrimFunc, core: Core, decider: Decider | None = None) -> Scheduled:
    """Schedule one kernel for `core`, by the kind's own choice unless a `decider` is given.

    Weights it packs show as parameters of another shape, and a workspace as more parameters after the
    output.
    """
    sch = Schedule(function)
    workload = apply(sch, core, decider or First())
    scheduled = sch.mod["main"].with_attr("tirx.is_scheduled", True)
    return Scheduled(scheduled, workload, DEFAULT)
