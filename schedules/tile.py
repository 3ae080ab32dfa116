"""The steps that the kinds' schedules share: epilogues folded in, register tiles cut and unrolled.

A register tile is a small buffer left in TVM's `global` scope: below 1 KiB that is the stack
(kMaxStackAlloca in tvm/runtime/device_api.h), which LLVM turns into registers. In `local` scope it would
be a call of the runtime's workspace allocator, and its elements memory that LLVM must store.
"""

from __future__ import annotations

from tvm.s_tir import Schedule
from tvm.s_tir.schedule import LoopRV, SBlockRV

from schedules.kernel import LANES
from targets.cores import Core


def fold_epilogue(sch: Schedule, anchor: SBlockRV, *kept: SBlockRV) -> SBlockRV:
    """Inline every block but the anchor, those `kept`, and the kernel's output; return the output's block."""
    (output,) = sch.get_output_blocks(sch.get_sblock("root"))
    blocks = sch.get_child_blocks(sch.get_sblock("root"))
    for block in blocks:
        if not any(sch.get(block).same_as(sch.get(each)) for each in (anchor, *kept, output)):
            sch.compute_inline(block)
    return output


def vectorize_channels(sch: Schedule, channels: LoopRV, lanes: int = LANES) -> LoopRV:
    """Split a channel loop into vectors of `lanes`; return the loop over the vectors, not yet unrolled."""
    vectors, lane = sch.split(channels, [None, lanes])
    sch.vectorize(lane)
    return vectors


def lanes_of(core: Core, channels: int) -> int:
    """Lanes of the widest vectors of `core` that so many channels are a whole number of, or LANES."""
    widest = core.vector_lanes("float32")
    return next((lanes for lanes in (widest, widest // 2) if lanes > LANES and channels % lanes == 0), LANES)


def unroll_all(sch: Schedule, *loops: LoopRV) -> None:
    """Unroll each of `loops`."""
    for loop in loops:
        sch.unroll(loop)


def partition(sch: Schedule, *loops: LoopRV) -> None:
    """Let lowering cut `loops` where a border or tail test changes, so that the bulk runs without tests."""
    for loop in loops:
        sch.annotate(loop, "pragma_loop_partition_hint", 1)
