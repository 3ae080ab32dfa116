"""MobileNetV2 lowered with one step after the other: what an ablation compares, and kernels alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tvm import ir, tirx, transform
from tvm.s_tir import Schedule
from tvm.tirx import PrimFunc

from compile.lower import FOLD, FUSE, LAY_OUT, LEGALIZE, Lowered, Passes, lower
from compile.passes.schedule_kernels import Scheduler, schedule_kernels
from compile.passes.select_kernels import SelectKernels
from schedules import elementwise
from schedules.apply import Scheduled, schedule_kernel
from schedules.kernel import CHANNEL_MULTIPLE, LANES, workload_of
from schedules.microkernel import STYLES, VECTOR
from targets.cores import Core


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
layer_by_layer = lowered_by(FOLD, LAY_OUT, SELECT, LEGALIZE, FUSE)
"""Everything but bottlenecks."""
STEPS = (
    Step("NCHW, plain loops", lowered_by(FOLD, LEGALIZE, scheduler=plain)),
    Step("NHWC", lowered_by(FOLD, LAY_OUT, SELECT, LEGALIZE, scheduler=plain)),
    Step("packed weights", lowered_by(FOLD, LAY_OUT, SELECT, LEGALIZE, scheduler=packed)),
    Step("register tiles", lowered_by(FOLD, LAY_OUT, SELECT, LEGALIZE, scheduler=tiled)),
    Step("fused epilogues", lowered_by(FOLD, LAY_OUT, SELECT, LEGALIZE, FUSE, scheduler=tiled)),
    Step("written-out loops", layer_by_layer),
    Step("bottlenecks", lower),
)
