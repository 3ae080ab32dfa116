"""What each step of the lowering buys: MobileNetV2 1.0-224 with one step after the other, as CSV.

    python -m bench.ablation [--cores a53,a55,a72,a76] [--output docs/ablation.csv]

Every variant is run on the emulated board on one image's worth of numbers and compared with PyTorch before it
is counted. Misses are counted; cycles are estimated (docs/timing.md).
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tvm import ir, tirx, transform
from tvm.s_tir import Schedule
from tvm.tirx import PrimFunc

from compile.bench import count
from compile.bench_report import BenchReport
from compile.frontend import trace
from compile.lower import FOLD, FUSE, LAY_OUT, LEGALIZE, Lowered, Passes, lower
from compile.passes.schedule_kernels import Scheduler, schedule_kernels
from compile.passes.select_kernels import SelectKernels
from compile.pipeline import compile_model
from compile.source import Source, random_inputs
from schedules import elementwise
from schedules.apply import Scheduled, schedule_kernel
from schedules.kernel import CHANNEL_MULTIPLE, LANES, workload_of
from schedules.microkernel import STYLES, VECTOR
from targets.cores import Core, find_core
from targets.device import open_device

SOURCE = Source("mobilenet_v2", weights="random:0")
AGREES = 1e-4
"""Of the largest output: what differs is the order of the additions."""
MILLION = 1e6


@dataclass(frozen=True)
class Step:
    """A variant that has everything the one before it has, and one thing more."""

    name: str
    lowering: Callable[[ir.IRModule, Core], Lowered]


def lowered_by(
    *passes: Passes, scheduler: Scheduler = schedule_kernel
) -> Callable[[ir.IRModule, Core], Lowered]:
    """A lowering of `passes`, each kernel scheduled by `scheduler`."""
    sequence = transform.Sequential([each for part in passes for each in part])
    return lambda module, core: Lowered(*schedule_kernels(sequence(module), core, scheduler))


def plain(function: PrimFunc, core: Core) -> Scheduled:  # noqa: ARG001
    """Loops as they are written, but for vectors of the innermost axis, whose sums stay in registers."""
    return _plain(Schedule(function), packed=False)


def packed(function: PrimFunc, core: Core) -> Scheduled:  # noqa: ARG001
    """The same on weights that are packed in panels of CHANNEL_MULTIPLE outputs."""
    return _plain(Schedule(function), packed=True)


def _plain(sch: Schedule, *, packed: bool) -> Scheduled:
    workload = workload_of(sch)
    if workload is None or workload.kind == "pool":
        reductions = [each for each in sch.get_child_blocks(sch.get_sblock("root")) if _reduces(sch, each)]
    else:
        reductions = [sch.get_sblock(workload.kind)]
        if packed and workload.kind != "depthwise":
            panel = CHANNEL_MULTIPLE
            sch.transform_layout(
                reductions[0], ("read", 1), lambda *i: (i[-1] // panel, *i[:-1], i[-1] % panel)
            )
    for block in reductions:
        _sum_in_vectors(sch, block)
    if not reductions:
        elementwise.schedule(sch)
    return Scheduled(sch.mod["main"].with_attr("tirx.is_scheduled", True), workload, "plain")


def _reduces(sch: Schedule, block: object) -> bool:
    return any(axis.iter_type == tirx.IterVar.CommReduce for axis in sch.get(block).iter_vars)


def _sum_in_vectors(sch: Schedule, block: object) -> None:
    kinds = [axis.iter_type for axis in sch.get(block).iter_vars]
    loops = sch.get_loops(block)
    spatial = [loop for loop, kind in zip(loops, kinds, strict=True) if kind == tirx.IterVar.DataPar]
    sums = [loop for loop, kind in zip(loops, kinds, strict=True) if kind == tirx.IterVar.CommReduce]
    *outer, inner = spatial
    if int(sch.get(inner).extent) % LANES == 0:
        vectors, lanes = sch.split(inner, [None, LANES])
        sch.reorder(*outer, vectors, *sums, lanes)
        sch.vectorize(lanes)
    sch.decompose_reduction(block, sums[0])


class PlainLoops:
    """The best of each decision, but that LLVM makes the inner loops."""

    def choose(self, name: str, candidates: Sequence[int]) -> int:
        """The first that asks for no loop of our own."""
        without = {"load_style": STYLES.index(VECTOR), "written_out": 0}
        wanted = without.get(name, candidates[0])
        return wanted if wanted in candidates else candidates[0]


def tiled(function: PrimFunc, core: Core) -> Scheduled:
    """The kinds' own schedules with loops that LLVM makes."""
    return schedule_kernel(function, core, PlainLoops())


SELECT: Passes = (SelectKernels(),)
STEPS = (
    Step("NCHW, plain loops", lowered_by(FOLD, LEGALIZE, scheduler=plain)),
    Step("NHWC", lowered_by(FOLD, LAY_OUT, SELECT, LEGALIZE, scheduler=plain)),
    Step("packed weights", lowered_by(FOLD, LAY_OUT, SELECT, LEGALIZE, scheduler=packed)),
    Step("register tiles", lowered_by(FOLD, LAY_OUT, SELECT, LEGALIZE, scheduler=tiled)),
    Step("fused epilogues", lowered_by(FOLD, LAY_OUT, SELECT, LEGALIZE, FUSE, scheduler=tiled)),
    Step("written-out loops", lowered_by(FOLD, LAY_OUT, SELECT, LEGALIZE, FUSE)),
    Step("bottlenecks", lower),
)


def measured(step: Step, core: Core) -> BenchReport:
    """The report of a variant that computes what PyTorch does; RuntimeError for one that does not."""
    traced = trace(SOURCE)
    (inputs,) = random_inputs(traced.inputs, 1)
    (expected,) = traced.reference(*inputs)
    with tempfile.TemporaryDirectory() as folder:
        bundle = compile_model(
            SOURCE, core, Path(folder) / "bundle", lambda _: contextlib.nullcontext(), step.lowering
        )
        with open_device(f"emulated:{core.name}") as device:
            (output,) = device.load(bundle.library).run(*inputs)
        difference = np.abs(output - expected).max() / np.abs(expected).max()
        if not difference < AGREES:
            raise RuntimeError(f"{step.name} on {core.name}: {difference:.1e} of the largest output off")
        return count(bundle)


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cores", default="a53,a55,a72,a76")
    parser.add_argument("--output", type=Path, default=Path("docs/ablation.csv"))
    options = parser.parse_args()
    cores = [find_core(name) for name in options.cores.split(",")]
    figures = ("estimated M cycles", "of it arithmetic", "M L1D misses", "M L2 misses")
    with options.output.open("w", newline="", encoding="utf-8") as file:
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
