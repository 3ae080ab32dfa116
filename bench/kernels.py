"""Every distinct kernel of MobileNetV2 1.0-224 beside the multiply-add peak of four cores, as CSV.

    python -m bench.kernels [--cores a53,a55,a72,a76] [--output docs/kernels.csv]

First as they are compiled, bottlenecks being one kernel each; then layer by layer.
Misses are counted on the emulated board; cycles, and so the per cent of peak, are estimated by the cores'
timing models from what was executed, every access hitting the first-level cache.
"""

from __future__ import annotations

import contextlib
import csv
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.options import cores_and_output
from bench.variants import layer_by_layer
from compile.bench import count
from compile.bench_report import BenchReport, Row
from compile.lower import lower
from compile.pipeline import Lowering, compile_model
from compile.source import Source
from targets.cores import find_core

FIELDS = ("estimated % of peak", "estimated core cycles", "L1D misses", "L2 misses")


VARIANTS: dict[str, Lowering] = {"compiled": lower, "layer by layer": layer_by_layer}


MOBILENET = Source("mobilenet_v2", weights="random:0")


def report(core_name: str, lowering: Lowering, source: Source = MOBILENET) -> BenchReport:
    """The kernels of one inference on `core_name`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bundle"
        bundle = compile_model(source, find_core(core_name), path, contextlib.nullcontext, lowering)
        return count(bundle)


def cells(found: BenchReport, row: Row, *counts: float) -> list[str]:
    """The per cent of the peak that a kernel reaches, empty where it multiplies nothing, and `counts`."""
    peak = found.peak(row)
    return ["" if peak is None else f"{100 * peak:.0f}", *(f"{value:.0f}" for value in counts)]


def main() -> None:
    """Write the table."""
    chosen, output = cores_and_output(__doc__, "docs/kernels.csv")
    cores = [core.name for core in chosen]
    with output.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        heads = [f"{core} {field}" for core in cores for field in FIELDS]
        writer.writerow(["as", "kind", "shape", "calls", "multiply-adds", *heads])
        for name, lowering in VARIANTS.items():
            writer.writerows(rows(name, [report(core, lowering) for core in cores]))


def rows(variant: str, found: Sequence[BenchReport]) -> Iterator[list[object]]:
    """A row per kernel, one for the runtime, and the total, from a report for each core.

    A kernel that is not the same one on every core has a row for each: what is fused is the core's choice.
    """
    tables = [_named([*each.kernels, each.runtime, each.total]) for each in found]
    for key in dict.fromkeys(key for table in tables for key in table):
        (kind, shape, calls, multiply_adds), _ = key
        figures = [
            cell
            for each, table in zip(found, tables, strict=True)
            for cell in (_figures(each, table[key]) if key in table else [""] * len(FIELDS))
        ]
        yield [variant, kind, shape, calls, multiply_adds, *figures]


def _figures(found: BenchReport, row: Row) -> list[str]:
    """What FIELDS names, of all calls of a kernel."""
    return cells(found, row, row.core_cycles, row.l1_misses, row.l2_misses)


_Name = tuple[str, str, int, int]


def _named(rows: Sequence[Row]) -> dict[tuple[_Name, int], Row]:
    """The rows by name; kernels that differ in their epilogue alone by a number beside."""
    seen: Counter[_Name] = Counter()
    found = {}
    for row in rows:
        name = _name(row)
        found[name, seen[name]] = row
        seen[name] += 1
    return found


def _name(row: Row) -> _Name:
    shape = " ".join(f"{name}={extent}" for name, extent in row.shape.items())
    return row.kind or row.name, shape, row.calls, row.multiply_adds


if __name__ == "__main__":
    main()
