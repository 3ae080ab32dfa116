"""Puts calls of written-out inner loops (calls.py) where a schedule asked for them.

A schedule marks the outermost loop of a tile's sum: an annotation, which traces keep. After the schedule
is applied, `splice()` replaces each marked loop nest by calls of the tile's function, whose LLVM IR is
attached to the call by TVM's `pragma_import_llvm`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from tvm import ir, tirx
from tvm.s_tir import SBlock, SBlockRealize, Schedule
from tvm.s_tir.schedule import LoopRV, SBlockRV

from schedules import calls
from schedules.clamp import by_bits
from schedules.epilogue import epilogue_of
from schedules.frame import Frame
from schedules.kernel import Decisions
from schedules.microkernel import PLAIN, STYLES
from schedules.pixel_tile import PixelTile
from schedules.surgery import (
    drop_buffer,
    exists_at_start,
    is_alone_with,
    put_in,
    rewrite,
    shared_loops,
    whole_region,
)
from schedules.tile import unroll_all, vectorize_channels

_TILE = "armature.tile"
_STEPS = "armature.steps"
ADDED = "armature.added"
"""On a block that adds the last of the buffers it reads to its results: each element just before it stores
the output's in its place.
"""
_IMAGE_STEPS = "armature.image_steps"
_PIXELS = "armature.pixel_tile"
_AXES = {_TILE: (0, 1, 2), _STEPS: (-4, -3, -2, -1), _IMAGE_STEPS: (-5, -4, -3, -2, -1), _PIXELS: (0, 1, -1)}
"""By mark: the axes of its block that the loops from the marked one inwards walk, outermost first."""


def mark_tile(sch: Schedule, rows: LoopRV, pitch: int, rounds: int, style: str) -> None:
    """Ask for the nest at `rows` (rows, columns, inputs) to be a `microkernel.Tile`.

    The block must still have its init. `pitch`: elements from a row's pixel to the next row's; `rounds`: of
    a turn of its loop.
    """
    sch.annotate(rows, _TILE, f"{pitch} {rounds} {style}")


def mark_steps(sch: Schedule, columns: LoopRV, frame: Frame) -> None:
    """Ask for the nest at `columns` (columns, lanes, window) to be the steps of a depthwise convolution."""
    sch.annotate(columns, _STEPS, frame.spelled())


def mark_image_steps(sch: Schedule, columns: LoopRV, frame: Frame) -> None:
    """Ask for the nest at `columns` (columns, channels, window, planes) to be the steps of a stem.

    `frame.channels` are the planes. The block must still have its init.
    """
    sch.annotate(columns, _IMAGE_STEPS, frame.spelled())


def mark_pixel_tile(
    sch: Schedule, block: SBlockRV, around: LoopRV, rows: LoopRV, decisions: Decisions
) -> None:
    """Ask for the nest at `rows` (rows, columns, inputs) of `block` to be a `PixelTile`; in style PLAIN it
    stays loops.

    The sums, one vector after the other, are set outside `around`, which is `rows` or the window's loop.
    """
    style = STYLES[decisions["load_style"]]
    if style == PLAIN:
        inputs = _leave_to_llvm(sch, block, decisions["step"], decisions["lanes"])
        start = sch.decompose_reduction(block, inputs if around.same_as(rows) else around)
    else:
        start = sch.decompose_reduction(block, around)
        sch.annotate(rows, _PIXELS, f"{decisions['step']} {style}")
    row, column = sch.get_loops(start)[-2:]
    unroll_all(sch, row, vectorize_channels(sch, column))


def _leave_to_llvm(sch: Schedule, block: SBlockRV, step: int, lanes: int) -> LoopRV:
    """The nest (rows, columns, inputs) of `block` as loops, the inputs outermost, `step` of them unrolled."""
    row, column, k = sch.get_loops(block)[-3:]
    vector, lane = sch.split(column, [None, lanes])
    outer, inner = sch.split(k, [None, step])
    sch.reorder(outer, inner, row, vector, lane)
    unroll_all(sch, inner, row, vector)
    sch.vectorize(lane)
    return outer


def splice(sch: Schedule) -> None:
    """Replace every marked nest by calls. Nothing may be scheduled afterwards."""
    for block, nest, name, asked in list(_marked(sch)):
        if name == _PIXELS:
            _replace_tap(sch, block, nest, asked)
        else:
            _replace(sch, block, nest, name, asked)
    for block in sch.get_child_blocks(sch.get_sblock("root")):
        body = sch.get(block).body
        clamped = by_bits(body)
        if not clamped.same_as(body):
            rewrite(sch, block, clamped)


def _marked(sch: Schedule) -> Iterator[tuple[SBlockRV, list[LoopRV], str, str]]:
    """Every marked nest with its block, the mark's name and what it says."""
    for block in sch.get_child_blocks(sch.get_sblock("root")):
        loops = sch.get_loops(block)
        for name, axes in _AXES.items():
            count = len(axes)
            asked = sch.get(loops[-count]).annotations.get(name) if len(loops) >= count else None
            if asked is not None:
                yield block, loops[-count:], name, str(asked)
                break


def _replace(sch: Schedule, block: SBlockRV, nest: list[LoopRV], name: str, asked: str) -> None:
    (reader,) = sch.get_consumers(block)
    *_, around, steps = shared_loops(sch, block, reader)
    own = sch.get_loops(block)[len(shared_loops(sch, block, reader)) :]
    loops = [sch.get(loop) for loop in nest]
    realize, old = loops[-1].body, sch.get(block)
    may_store = is_alone_with(sch, steps, reader)
    before, body, epilogue = _REPLACED[name](old, sch.get(reader), loops, asked, may_store)
    reads, writes = _touched(old, loops, name)
    predicate = realize.predicate
    more = [whole_region(each.source) for each in epilogue.operands]
    if epilogue.finish.stored:
        writes, more = more[:1], more[1:]
        predicate = exists_at_start(sch, reader, steps)
    annotations = {ADDED: 1} if epilogue.finish.adds else {}
    new = SBlock(old.iter_vars, [*reads, *more], writes, old.name_hint, body, annotations=annotations)
    stmt = _once(SBlockRealize(realize.iter_values, predicate, new), [sch.get(loop) for loop in own])
    if epilogue.finish.stored:
        put_in(sch, steps, stmt)
        drop_buffer(sch, old.body.buffer)
    else:
        sch.state.replace(sch.get_sref(own[0]), stmt)
        _store(sch, reader, epilogue.rest)
    if before:
        put_in(sch, around, *before, sch.get(around).body)


def _touched(
    block: SBlock, loops: Sequence[tirx.For], name: str
) -> tuple[list[ir.TensorRegion], list[ir.TensorRegion]]:
    """What a marked nest reads and writes."""
    spans = {
        block.iter_vars[axis].var: int(loop.extent) for axis, loop in zip(_AXES[name], loops, strict=True)
    }
    return [_region(each, spans) for each in block.reads], [_region(each, spans) for each in block.writes]


def _replace_tap(sch: Schedule, block: SBlockRV, nest: list[LoopRV], asked: str) -> None:
    """Put a tap's tile in the place of a nest; the sums start from the bias, where they are set."""
    (reader,) = sch.get_consumers(block)
    loops = [sch.get(loop) for loop in nest]
    realize, old = loops[-1].body, sch.get(block)
    rows, columns, depth = (int(loop.extent) for loop in loops)
    step, style = asked.split(" ")
    epilogue = epilogue_of(sch.get(reader), old.body.buffer, may_store=False)
    body = calls.pixel_call(old, PixelTile(rows, columns, depth, int(step), calls.has_borders(old), style))
    reads, writes = _touched(old, loops, _PIXELS)
    new = SBlock(old.iter_vars, reads, writes, old.name_hint, body)
    stmt = _once(SBlockRealize(realize.iter_values, realize.predicate, new), loops)
    (start,) = (each for each in sch.get_producers(block) if _sets(sch.get(each), old.body.buffer))
    sch.state.replace(sch.get_sref(nest[0]), stmt)
    if epilogue.finish.bias:
        (bias,) = epilogue.at(sch.get(start).body.indices)
        _store(sch, start, bias)
        _store(sch, reader, epilogue.rest)


def _once(stmt: tirx.Stmt, loops: Sequence[tirx.For]) -> tirx.Stmt:
    """`stmt` in the first turn of `loops`: a call does all that they did."""
    for loop in reversed(loops):
        stmt = tirx.For(loop.loop_var, loop.min, 1, tirx.ForKind.SERIAL, stmt)
    return stmt


def _store(sch: Schedule, block: SBlockRV, value: ir.Expr) -> None:
    """Let a block store another value where it stores one."""
    store = sch.get(block).body
    rewrite(sch, block, tirx.BufferStore(store.buffer, value, store.indices))


def _sets(block: SBlock, buffer: tirx.Var) -> bool:
    return any(each.source.same_as(buffer) for each in block.writes)


_REPLACED = {_TILE: calls.tile_call, _STEPS: calls.step_calls, _IMAGE_STEPS: calls.image_calls}


def _region(touched: ir.TensorRegion, spans: Mapping[tirx.Var, int]) -> ir.TensorRegion:
    """What a tile touches, from what its first element does: axes that loops walk in part, others whole."""
    ranges = []
    for one, extent in zip(touched.region, touched.source.ty.shape, strict=True):
        span = next((span for var, span in spans.items() if var.same_as(one.min)), None)
        ranges.append(ir.Range(0, extent) if span is None else ir.Range.from_min_extent(one.min, span))
    return ir.TensorRegion(touched.source, ranges, touched.ty)
