"""Holds the cycle model against published latencies, checks that it ranks an engine's kernels truly, and
prices Armature beside the engines.

    python -m bench.calibration [--output targets/emulated/calibration.json]

Fetches the official aarch64 wheels of the engines and Debian's arm64 Python (once, about 80 MB), runs
MobileNetV2 1.0-224 float32 on them, one thread, on the emulated board, and prices what was executed. Takes
about ten minutes. All cycles are estimates.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.calibration.engines import ENGINES, write_models
from bench.calibration.pricing import ARMATURE, CORES, Bench, Check, Priced
from bench.calibration.published import PUBLISHED
from targets.cores import find_core
from targets.emulated.error import CALIBRATION, FORMAT
from targets.emulated.pricing.tools import newest_tool

screen = Console(stderr=True)


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
        bench = Bench(Path(folder), screen.status)
        checks = [bench.check(row) for row in PUBLISHED]
        priced = [
            bench.price(engine, told, find_core(core))
            for engine in ENGINES
            for core in CORES
            for told in CORES
        ]
        priced += [bench.price_armature(find_core(core)) for core in CORES]
    Console(width=110).print(errors_table(checks), ranking_table(priced), peers_table(priced))
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
        if one.engine != ARMATURE:
            rows.setdefault((one.engine, one.core), []).append(_cell(one))
    for (engine, core), cells in rows.items():
        table.add_row(engine, core, *cells)
    return table


def peers_table(priced: Iterable[Priced]) -> Table:
    """Million cycles on each core, every engine told the truth; core + memory."""
    table = Table("engine", *CORES, box=None)
    rows: dict[str, list[str]] = {}
    for one in priced:
        if one.told == one.core:
            rows.setdefault(one.engine, []).append(_cell(one))
    for engine, cells in rows.items():
        table.add_row(engine, *cells)
    return table


def _cell(one: Priced) -> str:
    cost = one.estimate
    return f"{cost.cycles / 1e6:.0f} ({cost.core_cycles / 1e6:.0f} + {cost.memory_cycles / 1e6:.0f})"


if __name__ == "__main__":
    main()
