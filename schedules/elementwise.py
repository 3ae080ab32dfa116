"""What is left over: element by element work, and any kernel that no other kind claims.

Chains of element-wise blocks become one loop over vectors of the output's innermost axis. Blocks that
reduce, or that cannot be inlined, keep the loops they came with, which LLVM vectorises where it can.
"""

from __future__ import annotations

from tvm import tirx
from tvm.s_tir import Schedule
from tvm.s_tir.schedule import SBlockRV, ScheduleError

from schedules.kernel import LANES

KIND = "elementwise"


def schedule(sch: Schedule) -> None:
    """Inline what only feeds the next block, and run the rest in vectors where the axis allows."""
    blocks = sch.get_child_blocks(sch.get_sblock("root"))
    kept = [block for block in blocks[:-1] if not _inline(sch, block)]
    for block in (*kept, blocks[-1]):
        _vectorize(sch, block)


def _inline(sch: Schedule, block: SBlockRV) -> bool:
    if not _is_spatial(sch, block):
        return False
    try:
        sch.compute_inline(block)
    except ScheduleError:  # its value is used in a way that only the schedule's own checks can tell
        return False
    return True


def _vectorize(sch: Schedule, block: SBlockRV) -> None:
    loops = sch.get_loops(block)
    if not loops or not _is_spatial(sch, block):
        return
    extent = sch.get(loops[-1]).extent
    if isinstance(extent, tirx.IntImm) and int(extent) % LANES == 0:
        _, lanes = sch.split(loops[-1], [None, LANES])
        sch.vectorize(lanes)


def _is_spatial(sch: Schedule, block: SBlockRV) -> bool:
    return all(axis.iter_type == tirx.IterVar.DataPar for axis in sch.get(block).iter_vars)
