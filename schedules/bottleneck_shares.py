"""A bottleneck in shares, in the cheaper of two ways.

By strips: each thread makes strips that follow each other, in a ring and a strip of its own; before its first
it makes the expanded rows that a strip before would have left in the ring. By groups: in every strip the
threads share the groups of middle channels, and when all are done, the projection.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm import tirx
from tvm.s_tir import SBlock, SBlockRealize
from tvm.tirx import PrimFunc, Stmt

from schedules.block import Bottleneck
from schedules.kernel import Workload
from schedules.share import Share, guarded, mine, share
from schedules.strips import loop, sequence, substituted
from schedules.workspace import workspace_of

MEETING = 8192
"""About how many multiply-adds a thread could do while all wait for each other."""


@dataclass(frozen=True)
class _Parts:
    """The loops and stages of a kernel that schedules/bottleneck.py wrote."""

    batch: tirx.For
    strip: tirx.For
    camera: Stmt | None
    """What makes a camera's rows planes."""
    group: tirx.For
    expansion: Stmt | None
    depthwise: Stmt
    projection: SBlockRealize

    @classmethod
    def of(cls, kernel: PrimFunc) -> _Parts:
        batch = kernel.body.block.body
        strip = batch.body
        *before, group, projection = strip.body.seq
        stages = list(group.body.seq) if isinstance(group.body, tirx.SeqStmt) else [group.body]
        expansion = stages[0] if len(stages) > 1 else None
        camera = before[0] if before else None
        return cls(batch, strip, camera, group, expansion, stages[-1], projection)


def shares_of(kernel: PrimFunc, workload: Workload, threads: int) -> list[Share]:
    """The shares of a kernel for so many threads at most."""
    block, parts = Bottleneck.read(workload.description), _Parts.of(kernel)
    strips, groups, turns = (int(each.extent) for each in (parts.strip, parts.group, parts.strip))
    turns *= block.batch
    sizes = block.output_size[0] * block.output_size[1]
    projection = block.batch * sizes * block.middle * block.outputs // turns
    depthwise = block.batch * sizes * block.middle * block.window.kernel[0] * block.window.kernel[1] // turns
    expansion = workload.multiply_adds // turns - projection - depthwise
    ahead = _ahead(block, strips) if parts.expansion is not None else 0
    busiest = -(-strips // threads) * block.batch
    by_strips = busiest * (workload.multiply_adds // turns) + block.batch * ahead * expansion * (strips > 1)
    in_groups = (expansion + depthwise) * -(-groups // threads) // groups + projection // threads
    by_groups = turns * (in_groups + 2 * MEETING)
    if strips > 1 and by_strips <= by_groups:
        return [_strips(kernel, parts, workload.multiply_adds, ahead)]
    return _groups(kernel, parts, turns, (expansion + depthwise, projection), threads)


def _ahead(block: Bottleneck, strips: int) -> int:
    """Strips whose expanded rows the next one reads."""
    advance = block.output_size[0] // strips * block.window.stride[0]
    reach = (block.window.kernel[0] - 1) * block.window.dilation[0] + 1
    return max(0, -(-(reach - block.window.stride[0]) // advance))


def _strips(kernel: PrimFunc, parts: _Parts, work: int, ahead: int) -> Share:
    strip, strips, count = parts.strip.loop_var, int(parts.strip.extent), len(kernel.params)
    stages = [] if parts.expansion is None else [mine(strip, parts.expansion, ahead)]
    stages.append(mine(strip, parts.depthwise))
    groups = loop(parts.group.loop_var, int(parts.group.extent), sequence(stages))
    rows = [] if parts.camera is None else [mine(strip, parts.camera, ahead)]
    body = sequence([*rows, groups, mine(strip, parts.projection)])
    body = loop(parts.batch.loop_var, int(parts.batch.extent), loop(strip, strips, body))
    return share(kernel, body, strips, 1, work, range(count - workspace_of(kernel), count))


def _groups(kernel: PrimFunc, parts: _Parts, turns: int, work: tuple[int, int], threads: int) -> list[Share]:
    group, strips = parts.group.loop_var, int(parts.strip.extent)
    groups = int(parts.group.extent)
    first = loop(group, groups, mine(group, parts.group.body))
    last_of = len(kernel.params) - 1
    own = []
    if parts.camera is not None:  # few rows, which each thread makes for itself
        first = sequence([parts.camera, first])
        own, last_of = [last_of], last_of - 1
    # A ring that serves one group after the other, each thread needs for itself (Plan.ring_shape).
    if parts.expansion is not None and strips == 1:
        own.insert(0, last_of)
    stage = parts.projection.block
    last, units = guarded(stage.body, stage.alloc_buffers, threads) or (stage.body, 1)
    placed = SBlock(
        [], stage.reads, stage.writes, stage.name_hint, last, None, stage.alloc_buffers, stage.match_buffers
    )
    shares = []
    for body, count, each_work, each_own in (
        (first, groups, work[0], own),
        (SBlockRealize([], True, placed), units, work[1], []),
    ):
        turn = tirx.Var("turn", "int32")
        strip = turn % strips if turns > 1 else tirx.const(0, "int32")
        batch = turn // strips if turns > 1 else tirx.const(0, "int32")
        at = substituted(substituted(body, parts.strip.loop_var, strip), parts.batch.loop_var, batch)
        shares.append(share(kernel, at, count, turns, each_work, each_own, turn))
    return shares
