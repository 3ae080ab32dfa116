"""The spaces as MetaSchedule takes them: what draws a point, what refuses one, and what changes a draw.

A point is a trace that holds its draws alone (schedules/space.py). Whoever builds it applies them
(`schedules.apply.apply`, with `Given(draws_of(sch))`): the steps that this takes are not part of a record.
"""

from __future__ import annotations

import random
from typing import Any

from tvm.ir.utils import derived_object
from tvm.s_tir import Schedule
from tvm.s_tir.meta_schedule.mutator import PyMutator
from tvm.s_tir.meta_schedule.postproc import PyPostproc
from tvm.s_tir.meta_schedule.space_generator import ScheduleFn
from tvm.s_tir.schedule import Trace

from schedules.apply import decide
from schedules.space import Decider, Given, InadmissibleError, Sampled, draws_of
from targets.cores import Core


def space_generator(core: Core, seed: int = 0) -> ScheduleFn:
    """Draws points of the space of whatever kernel it is given, for `core`."""

    def draw(sch: Schedule) -> None:
        decide(sch, core, Sampled(sch))

    return ScheduleFn(draw, sch_rules=[], postprocs=[Admit(core)], mutator_probs={Redraw(seed): 1.0})


def recorded(sch: Schedule, core: Core, wished: Decider) -> Schedule:
    """`sch`, its trace being that of the point which `wished` chooses."""
    decide(sch, core, Sampled(sch, wished))
    return sch


@derived_object
class Admit(PyPostproc):  # type: ignore[misc]
    """Refuses draws that do not go together: after one of them was changed, another may be none any more."""

    def __init__(self, core: Core) -> None:
        super().__init__()
        self.core = core

    def _initialize_with_tune_context(self, context: Any) -> None:
        pass

    def apply(self, sch: Schedule) -> bool:
        """Whether they do."""
        try:
            decide(sch, self.core, Given(draws_of(sch)))
        except InadmissibleError:
            return False
        return True

    def clone(self) -> Admit:
        """Another one; it has no state."""
        return Admit(self.core)


@derived_object
class Redraw(PyMutator):  # type: ignore[misc]
    """Changes one draw to another of its candidates."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.random = random.Random(seed)

    def _initialize_with_tune_context(self, context: Any) -> None:
        pass

    def apply(self, trace: Trace, _seed: int) -> Trace | None:
        """None where nothing was drawn."""
        return redrawn(trace, self.random)

    def clone(self) -> Redraw:
        """Another one, which draws other numbers."""
        return Redraw(self.random.randrange(2**30))


def redrawn(trace: Trace, chance: random.Random) -> Trace | None:
    """`trace` with one draw changed to another of its candidates; None where nothing was drawn."""
    draws = [each for each in trace.insts if each.kind.name == "SampleCategorical"]
    if not draws:
        return None
    draw = chance.choice(draws)
    now = int(trace.get_decision(draw))
    others = [at for at in range(len(draw.attrs[0])) if at != now]
    return trace.with_decision(draw, chance.choice(others), remove_postproc=True)
