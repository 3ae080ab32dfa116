"""What each step of the lowering buys: MobileNetV2 1.0-224 with one step after the other, as CSV.

    python -m bench.ablation [--cores a53,a55,a72,a76] [--output docs/ablation.csv]

Every variant is run on the emulated board on one image's worth of numbers and compared with PyTorch before it
is counted. Misses are counted; cycles are estimated (docs/timing.md).
"""

from __future__ import annotations

import contextlib
import csv
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.options import cores_and_output
from bench.variants import STEPS, Step
from compile.bench import count
from compile.bench_report import BenchReport
from compile.frontend import trace
from compile.pipeline import compile_model
from compile.source import Source, random_inputs
from targets.cores import Core
from targets.device import open_device

SOURCE = Source("mobilenet_v2", weights="random:0")
AGREES = 1e-4
"""Of the largest output: what differs is the order of the additions."""
MILLION = 1e6


@cache
def reference() -> tuple[Sequence[NDArray[Any]], NDArray[Any]]:
    """The inputs of every variant, and what PyTorch makes of them."""
    traced = trace(SOURCE)
    (inputs,) = random_inputs(traced.inputs, 1)
    (expected,) = traced.reference(*inputs)
    return inputs, expected


def measured(step: Step, core: Core) -> BenchReport:
    """The report of a variant that computes what PyTorch does; RuntimeError for one that does not."""
    inputs, expected = reference()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bundle"
        bundle = compile_model(SOURCE, core, path, contextlib.nullcontext, step.lowering)
        with open_device(f"emulated:{core.name}") as device:
            (output,) = device.load(bundle.library).run(*inputs)
        difference = np.abs(output - expected).max() / np.abs(expected).max()
        if not difference < AGREES:
            raise RuntimeError(f"{step.name} on {core.name}: {difference:.1e} of the largest output off")
        return count(bundle)


def main() -> None:
    """Write the table."""
    cores, output = cores_and_output(__doc__, "docs/ablation.csv")
    figures = ("estimated M cycles", "of it arithmetic", "M L1D misses", "M L2 misses")
    with output.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        heads = [f"{core.name} {figure}" for core in cores for figure in figures]
        writer.writerow(["step", "kernels called", "peak activation bytes", *heads])
        for step in STEPS:
            found = [measured(step, core) for core in cores]
            totals = [each.total for each in found]
            cells = [
                f"{value / MILLION:.2f}"
                for total in totals
                for value in (total.cycles, total.core_cycles, total.l1_misses, total.l2_misses)
            ]
            calls = sum(row.calls for row in found[0].kernels)
            writer.writerow([step.name, calls, found[0].peak_activation_bytes, *cells])
            file.flush()
            print(
                f"{step.name}: "
                + ", ".join(f"{core.name} {cell}" for core, cell in zip(cores, cells[::4], strict=True))
            )


if __name__ == "__main__":
    main()
