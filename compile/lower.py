"""From a traced network to scheduled kernels: the passes, in order."""

from __future__ import annotations

from dataclasses import dataclass

from targets.cores import Core
from tvm import ir, relax, transform

from compile.passes.fold_batch_norm import FoldBatchNorm
from compile.passes.fold_constants import FoldConstants
from compile.passes.plain_clip import PlainClip
from compile.passes.schedule_kernels import Kernel, schedule_kernels
from compile.passes.select_kernels import SelectKernels

CHANNELS_LAST = {
    "relax.nn.conv2d": ["NHWC", "HWIO"],
    "relax.nn.max_pool2d": ["NHWC"],
    "relax.nn.avg_pool2d": ["NHWC"],
    "relax.nn.adaptive_avg_pool2d": ["NHWC"],
}


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
            relax.transform.ConvertLayout(CHANNELS_LAST),
            FoldConstants(),
            relax.transform.CanonicalizeBindings(),
            relax.transform.DeadCodeElimination(),
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
