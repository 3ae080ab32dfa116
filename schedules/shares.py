"""How the threads of a run divide each kernel among them."""

from __future__ import annotations

import math

from tvm import tirx
from tvm.tirx import PrimFunc

from schedules import bottleneck_shares
from schedules.block import KIND as BOTTLENECK
from schedules.kernel import Workload
from schedules.share import Share, guarded, share
from schedules.strips import extents_of
from schedules.workspace import workspace_of


def shares_of(kernel: PrimFunc, workload: Workload | None, threads: int) -> list[Share]:
    """The shares of a scheduled kernel for so many threads at most; empty where it is one thread's."""
    if workload is not None and workload.kind == BOTTLENECK:
        return bottleneck_shares.shares_of(kernel, workload, threads)
    root = kernel.body.block
    nests = list(root.body.seq) if isinstance(root.body, tirx.SeqStmt) else [root.body]
    if len(nests) > 1 and root.alloc_buffers:
        return []  # what one nest leaves for the next may be on a stack
    elements = sum(math.prod(extents_of(parameter)) for parameter in kernel.params)
    work = max(elements, workload.multiply_adds if workload else 0) // len(nests)
    count = len(kernel.params)
    own = range(count - workspace_of(kernel), count)
    private = [*(kernel.params[position] for position in own), *root.alloc_buffers]
    found = [guarded(nest, private, threads) for nest in nests]
    return [share(kernel, *each, 1, work, own) for each in found if each is not None and all(found)]
