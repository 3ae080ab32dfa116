"""The spaces as MetaSchedule takes them: a space generator, and what must be done to each of its points."""

from __future__ import annotations

from typing import Any

from tvm.ir.utils import derived_object
from tvm.s_tir import Schedule
from tvm.s_tir.meta_schedule.postproc import PyPostproc
from tvm.s_tir.meta_schedule.space_generator import ScheduleFn

from schedules.apply import kinds
from schedules.kernel import workload_of
from schedules.splice import splice
from targets.cores import Core


def space_generator(core: Core) -> ScheduleFn:
    """Draws points of the space of whatever kernel it is given, for `core`.

    A draw inside a trace is not to be changed (schedules/space.py), so there are no mutators.
    """

    def draw(sch: Schedule) -> None:
        workload = workload_of(sch)
        if workload is None:
            raise ValueError("the kernel is of no kind that has a space")
        kinds()[workload.kind].space(sch, workload, core)

    return ScheduleFn(draw, sch_rules=[], postprocs=[Splice()], mutator_probs={})


@derived_object
class Splice(PyPostproc):  # type: ignore[misc]
    """Puts written-out loops where the schedule asks for them; traces do not have that step."""

    def _initialize_with_tune_context(self, context: Any) -> None:
        pass

    def apply(self, sch: Schedule) -> bool:
        """Always succeeds."""
        splice(sch)
        return True

    def clone(self) -> Splice:
        """Another one; it has no state."""
        return Splice()
