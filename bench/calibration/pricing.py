"""Prices the engines, and Armature, on cores: one profile per engine and core that it is told of."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from bench.calibration.engines import profile_engine
from bench.calibration.published import PUBLISHED, Published
from compile.bench import count
from compile.pipeline import compile_model
from compile.source import Source
from targets.boards import find_board
from targets.cores import Core, find_core
from targets.emulated.estimate import Estimate, estimate
from targets.emulated.profile import Caches, Profile

CORES = ("cortex-a53", "cortex-a55", "cortex-a72", "cortex-a76")
ARMATURE = "armature"


@dataclass(frozen=True)
class Priced:
    """An engine's kernels for one core, priced for another."""

    engine: str
    told: str
    core: str
    instructions: float
    estimate: Estimate
    misses: tuple[float, float]


@dataclass(frozen=True)
class Check:
    """A published latency and what the model makes of it."""

    published: Published
    estimated: float
    """Milliseconds."""

    @property
    def error(self) -> float:
        """Relative, positive where the estimate is too high."""
        return self.estimated / self.published.milliseconds - 1


Progress = Callable[[str], AbstractContextManager[object]]
"""Shows what is being done."""


class Bench:
    """Profiles each engine once per core that it is told of, with the caches of all that it is priced for."""

    def __init__(self, folder: Path, progress: Progress) -> None:
        self._folder, self._progress = folder, progress
        cores = [*map(find_core, CORES), *map(priced_core, PUBLISHED)]
        self._caches = list(dict.fromkeys(map(Caches.of, cores)))
        self._profile = cache(self._run)

    def price(self, engine: str, told: str, core: Core) -> Priced:
        """What the engine's kernels for `told` cost on `core`."""
        found = self._profile(engine, told)
        model = self._caches.index(Caches.of(core))
        cost = estimate(found.blocks, core, model)
        return Priced(engine, told, core.name, found.instructions, cost, found.misses(model))

    def check(self, row: Published) -> Check:
        """The row's latency as estimated."""
        cycles = self.price(row.engine, row.told, priced_core(row)).estimate.cycles
        return Check(row, cycles / (row.ghz * 1e6))

    def price_armature(self, core: Core) -> Priced:
        """What the same network costs as Armature compiles it for `core`."""
        with self._progress(f"{ARMATURE} for {core.name}"):
            folder = self._folder / f"{ARMATURE}-{core.name}"
            source = Source("mobilenet_v2", weights="imagenet")
            total = count(compile_model(source, core, folder, nullcontext), f"emulated:{core.name}").total
        cost = Estimate(total.core_cycles, total.memory_cycles)
        misses = (total.l1_misses, total.l2_misses)
        return Priced(ARMATURE, core.name, core.name, total.instructions, cost, misses)

    def _run(self, engine: str, told: str) -> Profile:
        with self._progress(f"{engine} told it runs on {told}"):
            return profile_engine(engine, told, self._caches, self._folder)


def priced_core(row: Published) -> Core:
    """The row's core, with the second-level cache that it has on the row's board."""
    core = find_core(row.core)
    clusters = find_board(row.board).clusters if row.board else ()
    sizes = [cluster.l2_kib for cluster in clusters if cluster.core == row.core]
    return replace(core, l2_kib=sizes[0]) if sizes else core
