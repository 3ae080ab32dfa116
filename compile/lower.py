"""From a traced network to scheduled kernels: the passes, in order."""

from __future__ import annotations

from dataclasses import dataclass

from tvm import ir, relax, transform

from compile.passes.fold_batch_norm import FoldBatchNorm
from compile.passes.fold_constants import FoldConstants
from compile.passes.group_bottlenecks import GroupBottlenecks
from compile.passes.plain_clip import PlainClip
from compile.passes.schedule_kernels import Kernel, schedule_kernels
from compile.passes.select_kernels import SelectKernels
from targets.cores import Core

LAYOUTS = {
    "relax.nn.conv2d": ["NHWC", "HWIO"],
    # TVM has no NHWC kernel of it.
    "relax.nn.conv2d_transpose": ["NCHW", "IOHW"],
}
"""What ConvertLayout is asked for; pools and element-wise operators follow their neighbours."""


@dataclass(frozen=True)
class Lowered:
    """A network as scheduled kernels for one core."""

    module: ir.IRModule
    kernels: list[Kernel]


def lower(module: ir.IRModule, core: Core) -> Lowered:
    """Fold, lay out, select, fuse and schedule the `main` of a Relax module for `core`."""
    fused = transform.Sequential(
        [
            relax.transform.CanonicalizeBindings(),
            relax.transform.DeadCodeElimination(),
            FoldConstants(),
            relax.transform.CanonicalizeBindings(),
            FoldBatchNorm(),
            PlainClip(),
            relax.transform.DeadCodeElimination(),
            relax.transform.ConvertLayout(LAYOUTS),
            FoldConstants(),
            relax.transform.CanonicalizeBindings(),
            relax.transform.DeadCodeElimination(),
            GroupBottlenecks(core),
            SelectKernels(),
            relax.transform.LegalizeOps(),
            relax.transform.AnnotateTIROpPattern(),
            relax.transform.FuseOps(),
            relax.transform.FuseTIR(),
            relax.transform.DeadCodeElimination(),
            relax.transform.RewriteDataflowReshape(),
        ]
    )(module)
    return Lowered(*schedule_kernels(fused, core))
