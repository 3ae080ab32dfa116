"""Every distinct kernel of MobileNetV2 1.0-224 beside the multiply-add peak of four cores, as CSV.

    python bench/kernels.py [--cores a53,a55,a72,a76] [--output docs/kernels.csv]

Misses are counted on the emulated board; cycles, and so the per cent of peak, are estimated by the cores'
timing models from what was executed, every access hitting the first-level cache.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import tempfile
from pathlib import Path

from compile.bench import count
from compile.bench_report import BenchReport, Row
from compile.pipeline import compile_model
from compile.source import Source
from targets.cores import find_core

FIELDS = ("estimated % of peak", "estimated core cycles", "L1D misses", "L2 misses")


def report(core_name: str) -> BenchReport:
    """The kernels of one inference, with random weights, on `core_name`."""
    with tempfile.TemporaryDirectory() as folder:
        source = Source("mobilenet_v2", weights="random:0")
        bundle = compile_model(source, find_core(core_name), Path(folder) / "bundle", contextlib.nullcontext)
        return count(bundle)


def cells(found: BenchReport, row: Row) -> list[str]:
    """What FIELDS names, of all calls of a kernel."""
    peak = found.peak(row)
    return [
        "" if peak is None else f"{100 * peak:.0f}",
        *(f"{value:.0f}" for value in (row.core_cycles, row.l1_misses, row.l2_misses)),
    ]


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cores", default="a53,a55,a72,a76")
    parser.add_argument("--output", type=Path, default=Path("docs/kernels.csv"))
    options = parser.parse_args()
    found = [report(name) for name in options.cores.split(",")]
    rows = [[*each.kernels, each.runtime, each.total] for each in found]
    with options.output.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        heads = [f"{each.device.core.name} {field}" for each in found for field in FIELDS]
        writer.writerow(["kind", "shape", "calls", "multiply-adds", *heads])
        for same in zip(*rows, strict=True):
            first = same[0]
            shape = " ".join(f"{name}={extent}" for name, extent in first.shape.items())
            figures = [cell for each, row in zip(found, same, strict=True) for cell in cells(each, row)]
            writer.writerow([first.kind or first.name, shape, first.calls, first.multiply_adds, *figures])
    print(f"{options.output}: {len(rows[0])} rows, {', '.join(each.device.core.name for each in found)}")


if __name__ == "__main__":
    main()
