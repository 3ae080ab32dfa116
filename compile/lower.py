"""From a traced network to scheduled kernels: the passes, in order."""

from __future__ import annotations

from dataclasses import dataclass

from tvm import ir, relax, transform

from compile.passes.fold_batch_norm import FoldBatchNorm
from compile.passes.fold_constants import FoldConstants
from compile.passes.group_bottlenecks import GroupBottlenecks
from compile.passes.plain_clip import PlainClip
from compile.passes.schedule_kernels import Kernel, Scheduler, schedule_kernels
from compile.passes.select_kernels import SelectKernels
from schedules.apply import schedule_kernel
from targets.cores import Core

LAYOUTS = {
    "relax.nn.conv2d": ["NHWC", "HWIO"],
    # TVM has no NHWC kernel of it.
    "relax.nn.conv2d_transpose": ["NCHW", "IOHW"],
}
"""What ConvertLayout is asked for; pools and element-wise operators follow their neighbours."""


Passes = tuple[transform.Pass, ...]


@dataclass(frozen=True)
class Lowered:
    """A network as scheduled kernels for one core."""

    module: ir.IRModule
    kernels: list[Kernel]


FOLD: Passes = (
    relax.transform.CanonicalizeBindings(),
    relax.transform.DeadCodeElimination(),
    FoldConstants(),
    relax.transform.CanonicalizeBindings(),
    FoldBatchNorm(),
    PlainClip(),
    relax.transform.DeadCodeElimination(),
)
"""What is constant is computed; batch norm becomes weights and biases."""

LAY_OUT: Passes = (
    relax.transform.ConvertLayout(LAYOUTS),
    FoldConstants(),
    relax.transform.CanonicalizeBindings(),
    relax.transform.DeadCodeElimination(),
)

LEGALIZE: Passes = (relax.transform.LegalizeOps(), relax.transform.AnnotateTIROpPattern())
"""Operators that no kind claimed become TVM's kernels."""

FUSE: Passes = (
    relax.transform.FuseOps(),
    relax.transform.FuseTIR(),
    relax.transform.DeadCodeElimination(),
    relax.transform.RewriteDataflowReshape(),
)
"""Element-wise work goes into the epilogue of the kernel before it."""


def fuse(module: ir.IRModule, core: Core) -> ir.IRModule:
    """Fold, lay out, select and fuse the `main` of a Relax module: its kernels, not scheduled yet."""
    select: Passes = (GroupBottlenecks(core), SelectKernels())
    fused: ir.IRModule = transform.Sequential([*FOLD, *LAY_OUT, *select, *LEGALIZE, *FUSE])(module)
    return fused


def lower(module: ir.IRModule, core: Core, scheduler: Scheduler = schedule_kernel) -> Lowered:
    """The kernels of a Relax module's `main`, scheduled for `core` by `scheduler`."""
    return Lowered(*schedule_kernels(fuse(module, core), core, scheduler))
