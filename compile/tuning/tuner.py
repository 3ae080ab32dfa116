"""Tunes kernels within a budget: trials go where most is to be gained, and every figure is kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field

from compile.tuning.candidate import Draws, Figure
from compile.tuning.measurers import Measurer
from compile.tuning.records import Log, best_first, read_draws
from compile.tuning.search import KernelSearch
from compile.tuning.task import Task
from compile.tuning.units import of_peak
from targets.cores import Core, lineage

PER_ROUND = 8
"""Points that a search proposes together."""
STALE_TRIALS = 40
"""A kernel that so many trials did not improve is done."""
WORTH = 0.005
"""Less than this part is no improvement that keeps a kernel going."""
SEEDS = 3
"""Points of a core that this one is like that are tried first."""


@dataclass(frozen=True)
class Budget:
    """What a tune may take: whichever ends first."""

    trials: int | None = None
    seconds: float | None = None


@dataclass
class Kernel:
    """A kernel while it is tuned."""

    task: Task
    search: KernelSearch
    waiting: list[dict[str, int]] = field(default_factory=list)
    """Points to be tried before the search proposes any."""
    under_way: int = 0
    trials: int = 0
    failures: list[str] = field(default_factory=list)
    stale: int = 0
    """Trials since the last improvement."""
    default_seconds: float | None = None
    is_done: bool = False

    @property
    def best_seconds(self) -> float | None:
        """The least time found."""
        best = self.search.best
        return None if best is None else best[1].seconds

    @property
    def share(self) -> float:
        """Time in one inference of every network, with the best point."""
        return (self.best_seconds or 0.0) * self.task.all_calls


Listener = Callable[["Tuner"], None]
"""Told after everything that changes."""


class Tuner:
    """One run of a tune. After `run`, `kernels` says what came of it."""

    def __init__(
        self,
        tasks: Sequence[Task],
        core: Core,
        measurer: Measurer,
        log: Log,
        budget: Budget,
        listener: Listener,
        *,
        resume: bool = False,
        retry_failed: bool = False,
    ) -> None:
        """With `resume`, what the log has from this device counts as trials that were made; with
        `retry_failed`, points that failed on it before may be tried again.
        """
        self.core, self.measurer, self.log, self.budget = core, measurer, log, budget
        self.listener, self.resume = listener, resume
        self.kernels = [Kernel(task, KernelSearch(task, core, PER_ROUND)) for task in tasks]
        self.started = time.monotonic()
        self.trials = 0
        self.known = 0
        """Figures taken from the log instead of being measured again."""
        self.known_failures = 0
        """Points left out because they failed before."""
        self.unfit: list[str] = []
        """Records that do not fit this version's spaces."""
        self._under_way: dict[Future[Figure], tuple[Kernel, Draws]] = {}

        if not retry_failed:
            self._recall_failures()
        self._recall()
        for kernel in self.kernels:
            self._prepare(kernel)

    def run(self) -> None:
        """Tune until the budget is spent or nothing is worth trying; raises what the measurer does.

        However it ends, all figures that were had are in the log.
        """
        self.started = time.monotonic()
        with self.measurer:
            try:
                while self._fill() or self._under_way:
                    self._take(wait(self._under_way, timeout=1.0, return_when=FIRST_COMPLETED).done)
                    self.listener(self)
            finally:
                self._take([future for future in self._under_way if future.done()])

    @property
    def total_seconds(self) -> float | None:
        """Of one inference of every network, kernels only; None before each has a figure."""
        if any(kernel.best_seconds is None for kernel in self.kernels):
            return None
        return sum(kernel.share for kernel in self.kernels)

    @property
    def default_total_seconds(self) -> float | None:
        """The same with every kernel's default."""
        if any(kernel.default_seconds is None for kernel in self.kernels):
            return None
        return sum((kernel.default_seconds or 0.0) * kernel.task.all_calls for kernel in self.kernels)

    @property
    def basis(self) -> str:
        """What the figures are, of `records.BASES`."""
        return self.measurer.basis

    def peak(self, kernel: Kernel) -> float | None:
        """The part of the core's multiply-adds that its best point does; None where it is not known."""
        best = kernel.best_seconds
        return None if best is None else of_peak(kernel.task.workload, best, self.basis, self.core)

    @property
    def seconds_left(self) -> float | None:
        """Until the budget is spent or every kernel is done, whichever is first, at the pace so far; None
        where nothing says so yet.
        """
        spent = time.monotonic() - self.started
        left = [] if self.budget.seconds is None else [self.budget.seconds - spent]
        made = sum(kernel.trials for kernel in self.kernels)
        if made:
            trials = sum(STALE_TRIALS - kernel.stale for kernel in self.kernels if not kernel.is_done)
            if self.budget.trials is not None:
                trials = min(trials, self.budget.trials - self.trials)
            left.append(trials * spent / made)
        return max(0.0, min(left)) if left else None

    def expected(self) -> tuple[int, float]:
        """The most trials that are likely, and about how many seconds they take."""
        trials = len(self.kernels) * (STALE_TRIALS + PER_ROUND)
        trials = trials if self.budget.trials is None else self.budget.trials
        seconds = trials * self.measurer.seconds_per_trial
        return trials, seconds if self.budget.seconds is None else min(seconds, self.budget.seconds)

    @property
    def is_over(self) -> bool:
        """Whether the budget is spent."""
        budget, now = self.budget, time.monotonic()
        return (budget.trials is not None and self.trials >= budget.trials) or (
            budget.seconds is not None and now - self.started >= budget.seconds
        )

    def _recall(self) -> None:
        """Give the searches what the log has from this kind of device: it is not measured again."""
        kernels = {kernel.task.key: kernel for kernel in self.kernels}
        for record in self.log.records():
            kernel = kernels.get(record.key)
            if kernel is None or (record.basis, record.device) != (self.measurer.basis, self.measurer.device):
                continue
            draws = record.draws
            if kernel.search.admits(draws):
                kernel.search.tell([(draws, Figure(record.seconds))])
                self.known += 1
                self.trials += self.resume
            else:
                self.unfit.append(str(record))

    def _recall_failures(self) -> None:
        """Points that failed on this kind of device are known, too."""
        failures = self.log.failures(self.measurer.device)
        for kernel in self.kernels:
            for spelled, reason in failures.get(kernel.task.key, {}).items():
                draws = read_draws(spelled)
                if kernel.search.admits(draws):
                    kernel.search.tell([(draws, Figure(None, reason))])
                    self.known_failures += 1
                    self.trials += self.resume

    def _prepare(self, kernel: Kernel) -> None:
        default = kernel.search.default
        known = kernel.search.figure(default)
        kernel.default_seconds = known.seconds if known else None
        kernel.waiting = [] if known else [default]
        kernel.waiting += [draws for draws in self._seeds(kernel) if kernel.search.figure(draws) is None]

    def _seeds(self, kernel: Kernel) -> Iterable[dict[str, int]]:
        """The best points of the cores that this one is like."""
        for core in lineage(self.core)[1:]:
            records = Log(self.log.folder.parent / core.name, core).records()
            ours = best_first(record for record in records if record.key == kernel.task.key)
            for record in ours[:SEEDS]:
                if kernel.search.admits(record.draws):
                    yield record.draws

    def _fill(self) -> bool:
        """Keep the measurer busy; False when there is nothing more to try."""
        while len(self._under_way) < self.measurer.capacity and not self.is_over:
            kernel = self._next()
            if kernel is None:
                return False
            points = kernel.waiting or kernel.search.propose()
            if self.budget.trials is not None:
                points = points[: self.budget.trials - self.trials]
            kernel.waiting = []
            if not points:
                kernel.is_done = True
                continue
            for draws in points:
                self._under_way[self.measurer.submit(kernel.task, draws)] = (kernel, draws)
                kernel.under_way += 1
                self.trials += 1
        return not self.is_over

    def _next(self) -> Kernel | None:
        """The kernel with most to gain: first those without any figure."""
        idle = [kernel for kernel in self.kernels if not kernel.under_way and not kernel.is_done]
        return max(idle, key=self._gain, default=None)

    def _gain(self, kernel: Kernel) -> float:
        if kernel.waiting:
            return float("inf")
        rounds = kernel.stale / PER_ROUND
        return kernel.share * (1.0 - min(1.0, self.peak(kernel) or 0.0)) * float(0.5**rounds)

    def _take(self, futures: Iterable[Future[Figure]]) -> None:
        """Keep what was found; then raise what the measurer did, if it has no figure for some."""
        found: dict[int, list[tuple[Draws, Figure]]] = {}
        errors = []
        for future in futures:
            kernel, draws = self._under_way.pop(future)
            error = future.exception()
            if error is None:
                found.setdefault(id(kernel), []).append((draws, future.result()))
            else:
                errors.append(error)
        for kernel in self.kernels:
            results = found.get(id(kernel), [])
            if results:
                self.log.add(kernel.task, results, self.measurer.device, self.measurer.basis)
                self._count(kernel, results)
        for error in errors:
            raise error

    def _count(self, kernel: Kernel, results: Sequence[tuple[Draws, Figure]]) -> None:
        before = kernel.best_seconds
        kernel.search.tell(results)
        kernel.under_way -= len(results)
        kernel.trials += len(results)
        kernel.failures += [figure.failure for _, figure in results if figure.seconds is None]
        if kernel.default_seconds is None:
            figure = kernel.search.figure(kernel.search.default)
            kernel.default_seconds = figure.seconds if figure else None
        best = kernel.best_seconds
        improved = best is not None and (before is None or best < before * (1 - WORTH))
        kernel.stale = 0 if improved else kernel.stale + len(results)
        kernel.is_done = kernel.is_done or kernel.stale >= STALE_TRIALS
