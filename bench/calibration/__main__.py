"""Holds the cycle model against published latencies, and checks that it ranks an engine's kernels truly.

    python -m bench.calibration [--output targets/emulated/calibration.json]

Fetches the official aarch64 wheels of ncnn and LiteRT and Debian's arm64 Python (once, about 60 MB), runs
MobileNetV2 1.0-224 float32 on them, one thread, on the emulated board, and prices what was executed. Takes
about six minutes. All cycles are estimates.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.calibration.engines import ENGINES, profile_engine, write_models
from bench.calibration.published import PUBLISHED, Published
from targets.boards import find_board
from targets.cores import Core, find_core
from targets.emulated.error import CALIBRATION, FORMAT
from targets.emulated.estimate import Estimate, estimate
from targets.emulated.pricing.tools import newest_tool
from targets.emulated.profile import Caches, Profile

CORES = ("cortex-a53", "cortex-a55", "cortex-a72", "cortex-a76")
screen = Console(stderr=True)


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


@dataclass(frozen=True)
class Priced:
    """An engine's kernels for one core, priced for another."""

    engine: str
    told: str
    core: str
    instructions: float
    estimate: Estimate
    misses: tuple[float, float]


class Bench:
    """Profiles each engine once per core that it is told of, with the caches of all that it is priced for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        cores = [*map(find_core, CORES), *(priced_core(row) for row in PUBLISHED)]
        self._caches = list(dict.fromkeys(map(Caches.of, cores)))
        self._profile = cache(self._run)

    def price(self, engine: str, told: str, core: Core) -> Priced:
        """What the engine's kernels for `told` cost on `core`."""
        found = self._profile(engine, told)
        model = self._caches.index(Caches.of(core))
        cost = estimate(found.blocks, core, model)
        return Priced(engine, told, core.name, found.instructions, cost, found.misses(model))

    def _run(self, engine: str, told: str) -> Profile:
        with screen.status(f"{engine} told it runs on {told}"):
            return profile_engine(engine, told, self._caches, self._folder)


def priced_core(row: Published) -> Core:
    """The row's core, with the second-level cache that it has on the row's board."""
    core = find_core(row.core)
    clusters = find_board(row.board).clusters if row.board else ()
    sizes = [cluster.l2_kib for cluster in clusters if cluster.core == row.core]
    return replace(core, l2_kib=sizes[0]) if sizes else core


def check(bench: Bench, row: Published) -> Check:
    """The row's latency as estimated."""
    cycles = bench.price(row.engine, row.told, priced_core(row)).estimate.cycles
    return Check(row, cycles / (row.ghz * 1e6))


def document(checks: Sequence[Check], priced: Iterable[Priced]) -> dict[str, Any]:
    """What targets/emulated/error.py reads, and the figures it came from."""
    by_core: dict[str, list[Check]] = {}
    for one in checks:
        by_core.setdefault(one.published.core, []).append(one)
    return {
        "format": FORMAT,
        "network": "MobileNetV2 1.0-224, float32, batch 1, one thread",
        "priced_by": newest_tool("llvm-mca").said,
        "cores": {
            core: {
                "error": round(max(abs(one.error) for one in found if one.published.arm), 3),
                "rows": [_row(one) for one in found],
            }
            for core, found in by_core.items()
        },
        "boards": {
            one.published.board: {"error": round(abs(one.error), 3)}
            for one in checks
            if one.published.board and not one.published.arm
        },
        "engines": [_engine(one) for one in priced],
    }


def _row(one: Check) -> dict[str, Any]:
    row = one.published
    return {
        "engine": row.engine,
        "board": row.device,
        "ghz": row.ghz,
        "published_ms": row.milliseconds,
        "estimated_ms": round(one.estimated, 1),
        "error": round(one.error, 3),
        "silicon_is_this_core": row.arm,
    }


def _engine(one: Priced) -> dict[str, Any]:
    l1, l2 = one.misses
    return {
        "engine": one.engine,
        "told": one.told,
        "core": one.core,
        "instructions": round(one.instructions),
        "core_cycles": round(one.estimate.core_cycles),
        "memory_cycles": round(one.estimate.memory_cycles),
        "l1_misses": round(l1),
        "l2_misses": round(l2),
    }


def main() -> None:
    """Run, print the tables, write the file."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.calibration",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--output", type=Path, default=CALIBRATION)
    output: Path = parser.parse_args().output
    with tempfile.TemporaryDirectory(prefix="armature-calibration-") as folder:
        write_models(Path(folder))
        bench = Bench(Path(folder))
        checks = [check(bench, row) for row in PUBLISHED]
        priced = [
            bench.price(engine, told, find_core(core))
            for engine in ENGINES
            for core in CORES
            for told in CORES
        ]
    Console(width=110).print(errors_table(checks), ranking_table(priced))
    output.write_text(json.dumps(document(checks, priced), indent=1) + "\n")
    screen.print(f"written: {output}")


def errors_table(checks: Iterable[Check]) -> Table:
    """Estimates beside what was published."""
    table = Table("engine", "device", "priced as", "GHz", "published ms", "estimated ms", "error", box=None)
    for one in checks:
        row = one.published
        latencies = (f"{row.milliseconds:.1f}", f"{one.estimated:.1f}", f"{one.error:+.0%}")
        table.add_row(row.engine, row.device, row.core, f"{row.ghz:g}", *latencies)
    return table


def ranking_table(priced: Iterable[Priced]) -> Table:
    """Million cycles (core + memory): on each core, the kernels an engine has for each."""
    table = Table("engine", "on", *(f"told {core}" for core in CORES), box=None)
    rows: dict[tuple[str, str], list[str]] = {}
    for one in priced:
        cost = one.estimate
        cell = f"{cost.cycles / 1e6:.0f} ({cost.core_cycles / 1e6:.0f} + {cost.memory_cycles / 1e6:.0f})"
        rows.setdefault((one.engine, one.core), []).append(cell)
    for (engine, core), cells in rows.items():
        table.add_row(engine, core, *cells)
    return table


if __name__ == "__main__":
    main()
