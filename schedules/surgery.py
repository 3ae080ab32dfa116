"""Changes to a schedule's program that no primitive makes."""

from __future__ import annotations

from collections.abc import Sequence

from tvm import ir, tirx
from tvm.s_tir import SBlock, SBlockRealize, Schedule
from tvm.s_tir.schedule import LoopRV, SBlockRV
from tvm.tirx.stmt import BufferRegion

from schedules.strips import substituted


def put_in(sch: Schedule, loop: LoopRV, *body: tirx.Stmt) -> None:
    """Give a loop another body."""
    old = sch.get(loop)
    stmt = body[0] if len(body) == 1 else tirx.SeqStmt(list(body))
    new = tirx.For(old.loop_var, old.min, old.extent, old.kind, stmt, old.thread_binding, old.annotations)
    sch.state.replace(sch.get_sref(loop), new)


def rewrite(
    sch: Schedule, block: SBlockRV, body: tirx.Stmt, buffers: Sequence[tirx.Var] | None = None
) -> None:
    """Give a block another body, and other buffers of its own."""
    old = sch.get(block)
    new = SBlock(
        old.iter_vars,
        old.reads,
        old.writes,
        old.name_hint,
        body,
        old.init,
        old.alloc_buffers if buffers is None else buffers,
        old.match_buffers,
        old.annotations,
    )
    sch.state.replace(sch.get_sref(block), new, {old: new})


def drop_buffer(sch: Schedule, buffer: tirx.Var) -> None:
    """Take a buffer that nothing uses any more out of the kernel."""
    root = sch.get_sblock("root")
    kept = [each for each in sch.get(root).alloc_buffers if not each.same_as(buffer)]
    rewrite(sch, root, sch.get(root).body, kept)


def shared_loops(sch: Schedule, block: SBlockRV, other: SBlockRV) -> list[LoopRV]:
    """The loops around both of two blocks, from outside."""
    pairs = zip(sch.get_loops(block), sch.get_loops(other), strict=False)
    return [loop for loop, same in pairs if sch.get(loop).same_as(sch.get(same))]


def is_alone_with(sch: Schedule, around: LoopRV, last: SBlockRV) -> bool:
    """Whether a loop's body is one nest, and after it the nest of the block `last`."""
    body = sch.get(around).body
    if not isinstance(body, tirx.SeqStmt) or len(body.seq) != 2:
        return False
    stmt = body.seq[1]
    while isinstance(stmt, tirx.For):
        stmt = stmt.body
    return isinstance(stmt, SBlockRealize) and stmt.block.same_as(sch.get(last))


def exists_at_start(sch: Schedule, block: SBlockRV, around: LoopRV) -> ir.Expr:
    """Whether the first element that a block makes in a turn of the loop `around` it is one of its."""
    loops = [sch.get(loop) for loop in sch.get_loops(block)]
    predicate = loops[-1].body.predicate
    inner = next(at for at, loop in enumerate(loops) if loop.same_as(sch.get(around))) + 1
    return at_start(predicate, loops[inner:])


def at_start(value: ir.Expr, loops: Sequence[tirx.For]) -> ir.Expr:
    """`value` in the first turn of `loops`."""
    for loop in loops:
        value = substituted(value, loop.loop_var, loop.min)
    return value


def whole_region(buffer: tirx.Var) -> ir.TensorRegion:
    """All of a buffer."""
    return BufferRegion(buffer, [ir.Range(0, extent) for extent in buffer.ty.shape])
