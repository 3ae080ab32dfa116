"""The search of one kernel's space: proposes points, takes their figures, proposes better ones.

MetaSchedule's evolutionary search and its XGBoost cost model do it, on what a point draws.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import tvm
from tvm.ir.utils import derived_object
from tvm.s_tir import Schedule
from tvm.s_tir.meta_schedule import TuneContext
from tvm.s_tir.meta_schedule.arg_info import ArgInfo
from tvm.s_tir.meta_schedule.cost_model import XGBModel
from tvm.s_tir.meta_schedule.database import MemoryDatabase, TuningRecord
from tvm.s_tir.meta_schedule.feature_extractor import PyFeatureExtractor
from tvm.s_tir.meta_schedule.runner import RunnerResult
from tvm.s_tir.meta_schedule.search_strategy import EvolutionarySearch, MeasureCandidate

from compile.tuning.candidate import Draws, Figure
from compile.tuning.task import Task
from schedules.search import recorded, redrawn, space_generator
from schedules.space import First, Given, InadmissibleError, draws_of
from targets.cores import Core

SPACES = 12
"""Traces that the search begins with. What later draws may be is fixed in each by its earlier draws."""
PATIENCE = 3
"""Rounds without a new point, after which the space seems used up."""
TRIES = 4
"""Changes tried for each neighbour wanted."""
POPULATION = 48
GENERATIONS = 3
WARM_UP = 16
"""Figures that the cost model wants before it predicts."""
MAX_TRIALS = 100_000
"""The budget is the tuner's: the search itself has no end."""

Key = tuple[tuple[str, int], ...]


def key_of(draws: Draws) -> Key:
    """What tells a point from others."""
    return tuple(sorted(draws.items()))


class KernelSearch:
    """The search of a kernel for a core, which never proposes a point twice."""

    def __init__(self, task: Task, core: Core, per_round: int, seed: int = 1) -> None:
        self.task, self.core = task, core
        self.figures: dict[Key, Figure] = {}
        self._per_round = per_round
        self._seed = seed
        self._context: TuneContext | None = None

    @cached_property
    def default(self) -> dict[str, int]:
        """The point that a compile takes when nothing is tuned."""
        return draws_of(recorded(Schedule(self.task.function), self.core, First()))

    def admits(self, draws: Draws) -> bool:
        """Whether a point is one of this core's space, as this version has it."""
        try:
            return self._drawn(draws) == dict(draws)
        except InadmissibleError:
            return False

    def _drawn(self, draws: Draws) -> dict[str, int]:
        """What is drawn of `draws`. Raises InadmissibleError."""
        return draws_of(recorded(Schedule(self.task.function), self.core, Given(draws)))

    def _recorded(self, draws: Draws) -> dict[str, int]:
        """A point as records have it: a mutation may leave draws that the others do not ask for."""
        try:
            return self._drawn(draws)
        except InadmissibleError:
            return dict(draws)

    def figure(self, draws: Draws) -> Figure | None:
        """What is known of a point."""
        return self.figures.get(key_of(draws))

    def tell(self, results: Iterable[tuple[Draws, Figure]]) -> None:
        """Take figures of points that were measured, proposed by this search or not."""
        results = list(results)
        self.figures |= {key_of(draws): figure for draws, figure in results}
        if self._context is not None:
            self._learn(results)

    def propose(self) -> list[dict[str, int]]:
        """Points that have no figure yet, the most promising ones; none when the space seems used up."""
        if not self.default:
            return []  # nothing to draw: the space is one point
        if len(self.figures) < WARM_UP and (near := self._neighbours()):
            return near
        if self._context is None:
            self._begin()
        assert self._context is not None
        for _ in range(PATIENCE):
            candidates = self._context.generate_measure_candidates()
            if not candidates:
                break
            points = [self._recorded(draws_of(each.sch)) for each in candidates]
            found = {key_of(draws): draws for draws in points}
            new = [draws for key, draws in found.items() if key not in self.figures]
            if new:
                return new
            known = [_outcome(self.figures[key_of(draws)]) for draws in points]
            self._context.notify_runner_results(candidates, known)
        return []

    def _neighbours(self) -> list[dict[str, int]]:
        """Points that differ from the best in one draw: what the cost model learns from to begin with."""
        if self.best is None:
            return []
        trace = recorded(Schedule(self.task.function), self.core, Given(self.best[0])).trace
        chance = random.Random(self._seed + len(self.figures))
        found: dict[Key, dict[str, int]] = {}
        for _ in range(TRIES * self._per_round):
            changed = redrawn(trace, chance)
            if changed is None or len(found) == self._per_round:
                break
            sch = Schedule(self.task.function)
            changed.apply_to_schedule(sch, remove_postproc=True)
            draws = draws_of(sch)
            if key_of(draws) not in self.figures and self.admits(draws):
                found[key_of(draws)] = draws
        return list(found.values())

    @property
    def best(self) -> tuple[dict[str, int], Figure] | None:
        """The point that takes the least time."""
        done = [(key, figure) for key, figure in self.figures.items() if figure.seconds is not None]
        if not done:
            return None
        key, figure = min(done, key=lambda item: item[1].seconds or 0.0)
        return dict(key), figure

    def _begin(self) -> None:
        module = tvm.ir.load_json(self.task.text)
        generator = space_generator(self.core, self._seed)
        context = TuneContext(
            module,
            target=self.core.target(),
            space_generator=generator,
            search_strategy=EvolutionarySearch(
                population_size=POPULATION, genetic_num_iters=GENERATIONS, init_min_unmeasured=POPULATION // 2
            ),
            task_name=str(self.task),
            rand_state=self._seed,
            num_threads=1,
        )
        spaces = [point for _ in range(SPACES) for point in context.generate_design_space()]
        self._database = MemoryDatabase()
        self._workload = self._database.commit_workload(module)
        self._arguments = ArgInfo.from_prim_func(self.task.function)
        names = sorted({name for point in spaces for name in draws_of(point)})
        self._model = XGBModel(extractor=DrawFeatures(names), num_warmup_samples=WARM_UP, num_tuning_cores=1)
        context.pre_tuning(MAX_TRIALS, self._per_round, spaces, self._database, self._model)
        self._context = context
        self._learn([(dict(key), figure) for key, figure in self.figures.items()])

    def _learn(self, results: Sequence[tuple[Draws, Figure]]) -> None:
        if not results:
            return
        points = [self._point(draws) for draws, _ in results]
        outcomes = [_outcome(figure) for _, figure in results]
        for point, (_, figure) in zip(points, results, strict=True):
            if figure.seconds is not None:
                record = TuningRecord(
                    point.sch.trace,
                    self._workload,
                    [figure.seconds],
                    self.core.target(),
                    self._arguments,
                )
                self._database.commit_tuning_record(record)
        assert self._context is not None
        self._context.notify_runner_results(points, outcomes)
        self._model.update(self._context, points, outcomes)

    def _point(self, draws: Draws) -> MeasureCandidate:
        return MeasureCandidate(
            recorded(Schedule(self.task.function), self.core, Given(draws)), self._arguments
        )


def _outcome(figure: Figure) -> RunnerResult:
    if figure.seconds is None:
        return RunnerResult(None, figure.failure)
    return RunnerResult([figure.seconds], None)


@derived_object
class DrawFeatures(PyFeatureExtractor):  # type: ignore[misc]
    """What the cost model sees of a point: the logarithm of each draw, and 0 for one that was not made.

    TVM's features are counted in the loops, of which a written-out kernel has few.
    """

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self.names = list(names)

    def extract_from(self, _context: TuneContext, candidates: Sequence[MeasureCandidate]) -> list[Any]:
        """One row per candidate."""
        return [tvm.runtime.tensor(self._row(draws_of(each.sch))) for each in candidates]

    def _row(self, draws: Mapping[str, int]) -> np.ndarray[Any, Any]:
        return np.array([[np.log2(2 + draws.get(name, -1)) for name in self.names]], "float32")
