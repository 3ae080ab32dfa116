"""From a traced network to scheduled kernels: the passes, in order."""

from __future__ import annotations

from dataclasses import dataclass

from tvm import ir, relax, transform

from compile.passes.channel_shuffles import ChannelShuffles
from compile.passes.class_maps import ClassMaps
from compile.passes.fold_batch_norm import FoldBatchNorm
from compile.passes.fold_constants import FoldConstants
from compile.passes.fold_padding import FoldPadding
from compile.passes.group_bottlenecks import GroupBottlenecks
from compile.passes.joined_activations import JoinedActivations
from compile.passes.move_shuffles import MoveShuffles
from compile.passes.narrow_indices import NarrowIndices
from compile.passes.plain_clip import PlainClip
from compile.passes.plain_division import PlainDivision
from compile.passes.planar_outputs import PlanarOutputs
from compile.passes.pooled_branches import PooledBranches
from compile.passes.schedule_kernels import Kernel, Scheduler, schedule_kernels
from compile.passes.select_kernels import SelectKernels
from compile.passes.small_operands import SmallOperands
from compile.passes.transposed import KERNEL_LAYOUT
from schedules.apply import schedule_kernel
from targets.cores import Core

LAYOUTS = {
    "relax.nn.conv2d": ["NHWC", "HWIO"],
    "relax.nn.conv2d_transpose": ["NHWC", KERNEL_LAYOUT],
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
    FoldPadding(),
    FoldBatchNorm(),
    PlainClip(),
    PlainDivision(),
    relax.transform.CanonicalizeBindings(),  # a variable's other name would have another layout
    relax.transform.EliminateCommonSubexpr(),  # branches that each begin with a ReLU of the same tensor
    relax.transform.DeadCodeElimination(),
    JoinedActivations(),
    MoveShuffles(),
    relax.transform.CanonicalizeBindings(),
    relax.transform.DeadCodeElimination(),
)
"""What is constant is computed, and what is the same once; batch norm becomes weights and biases."""

LAY_OUT: Passes = (
    relax.transform.ConvertLayout(LAYOUTS),
    FoldConstants(),
    relax.transform.CanonicalizeBindings(),
    relax.transform.DeadCodeElimination(),
)

HEADS: Passes = (PooledBranches(), ChannelShuffles(), ClassMaps(), PlanarOutputs())
"""What several operators say together becomes one kernel, or less work."""

LEGALIZE: Passes = (
    FoldConstants(),
    relax.transform.CanonicalizeBindings(),
    relax.transform.DeadCodeElimination(),
    SmallOperands(),
    relax.transform.LegalizeOps(),
    relax.transform.AnnotateTIROpPattern(),
)
"""Operators that no kind claimed become TVM's kernels."""

FUSE: Passes = (
    relax.transform.FuseOps(),
    relax.transform.FuseTIR(),
    relax.transform.DeadCodeElimination(),
    relax.transform.RewriteDataflowReshape(),
    NarrowIndices(),
)
"""Element-wise work goes into the epilogue of the kernel before it."""


def fuse(module: ir.IRModule, core: Core) -> ir.IRModule:
    """Fold, lay out, select and fuse the `main` of a Relax module: its kernels, not scheduled yet."""
    select: Passes = (*HEADS, GroupBottlenecks(core), SelectKernels())
    fused: ir.IRModule = transform.Sequential([*FOLD, *LAY_OUT, *select, *LEGALIZE, *FUSE])(module)
    return fused


def lower(module: ir.IRModule, core: Core, scheduler: Scheduler = schedule_kernel) -> Lowered:
    """The kernels of a Relax module's `main`, scheduled for `core` by `scheduler`."""
    return Lowered(*schedule_kernels(fuse(module, core), core, scheduler))
