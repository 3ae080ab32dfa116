"""Puts written-out inner loops (microkernel.py, stencil.py) where a schedule asked for them.

A schedule marks the outermost loop of a tile's sum: an annotation, which traces keep. After the schedule
is applied, `splice()` replaces each marked loop nest by calls of the tile's function, whose LLVM IR is
attached to the call by TVM's `pragma_import_llvm`.
"""

from __future__ import annotations

from collections.abc import Mapping

from tvm import ir, tirx
from tvm.s_tir import SBlock, SBlockRealize, Schedule
from tvm.s_tir.schedule import LoopRV, SBlockRV

from schedules import microkernel, stencil
from schedules.clamp import by_bits
from schedules.frame import Frame
from schedules.strips import substituted

_TILE = "armature.tile"
_STEPS = "armature.steps"
_LOOPS = {_TILE: 3, _STEPS: 4}
"""How many loops of the block a mark stands on the outermost of."""


def mark_tile(sch: Schedule, rows: LoopRV, pitch: int, style: str) -> None:
    """Ask for the nest at `rows` (rows, columns, inputs) to be a `microkernel.Tile`.

    The block must still have its init. `pitch`: elements from a row's pixel to the next row's.
    """
    sch.annotate(rows, _TILE, f"{pitch} {style}")


def mark_steps(sch: Schedule, columns: LoopRV, frame: Frame) -> None:
    """Ask for the nest at `columns` (columns, lanes, window) to be the steps of a depthwise convolution."""
    sch.annotate(columns, _STEPS, frame.spelled())


def splice(sch: Schedule) -> None:
    """Replace every marked nest by calls. Nothing may be scheduled afterwards."""
    for block in sch.get_child_blocks(sch.get_sblock("root")):
        loops = sch.get_loops(block)
        for name, count in _LOOPS.items():
            asked = sch.get(loops[-count]).annotations.get(name) if len(loops) >= count else None
            if asked is not None:
                _replace(sch, block, loops[-count:], name, str(asked))
                break
    for block in sch.get_child_blocks(sch.get_sblock("root")):
        _clamp_by_bits(sch, block)


def _clamp_by_bits(sch: Schedule, block: SBlockRV) -> None:
    old = sch.get(block)
    body = by_bits(old.body)
    if not body.same_as(old.body):
        new = SBlock(
            old.iter_vars,
            old.reads,
            old.writes,
            old.name_hint,
            body,
            old.init,
            old.alloc_buffers,
            old.match_buffers,
            old.annotations,
        )
        sch.state.replace(sch.get_sref(block), new, {old: new})


def _replace(sch: Schedule, block: SBlockRV, nest: list[LoopRV], name: str, asked: str) -> None:
    loops = [sch.get(loop) for loop in nest]
    extents = [int(loop.extent) for loop in loops]
    realize, old = loops[-1].body, sch.get(block)
    if name == _TILE:
        pitch, style = asked.split(" ")
        rows, columns, depth = extents
        body = _tile_call(old, microkernel.Tile(rows, columns, depth, int(pitch), style))
    else:
        body = _step_calls(old, Frame.read(asked))
    axes = [axis.var for axis in old.iter_vars][-len(loops) :]
    spans = dict(zip(axes, extents, strict=True))
    reads, writes = ([_region(each, spans) for each in touched] for touched in (old.reads, old.writes))
    new = SBlock(old.iter_vars, reads, writes, old.name_hint, body)
    stmt: tirx.Stmt = SBlockRealize(realize.iter_values, realize.predicate, new)
    for loop in reversed(loops):
        stmt = tirx.For(loop.loop_var, loop.min, 1, tirx.ForKind.SERIAL, stmt)
    sch.state.replace(sch.get_sref(nest[0]), stmt)


def _tile_call(block: SBlock, tile: microkernel.Tile) -> tirx.Stmt:
    """The tile that starts where the loops do."""
    product = block.body.value.b
    return _call(tile.name, microkernel.llvm_ir(tile), _sums(block), product.a, product.b)


def _step_calls(block: SBlock, frame: Frame) -> tirx.Stmt:
    """The kinds of step, told apart by where the step is."""
    y, x, r = (block.iter_vars[at].var for at in (1, 2, 4))
    product = block.body.value.b
    pixel = product.a if isinstance(product.a, ir.TensorLoad) else product.a.args[1]
    image, row, _, channel = pixel.indices

    def call(step: stencil.Step) -> tirx.Stmt:
        column = x * frame.stride[1] - frame.padding[1] + step.pixels[0]
        rows = [
            tirx.BufferLoad(pixel.source, [image, substituted(row, r, tirx.const(tap)), column, channel])
            for tap in range(*step.taps)
        ]
        weights = tirx.BufferLoad(product.b.source, [0, 0, product.b.indices[-1]])
        return _call(step.name, stencil.llvm_ir(step), _sums(block), *rows, weights)

    rows = [
        (end, _chosen(x, [(until, call(frame.step(taps, part))) for until, part in frame.columns_spans()]))
        for end, taps in frame.rows_spans()
    ]
    return _chosen(y, rows)


def _chosen(position: tirx.Var, cases: list[tuple[int, tirx.Stmt]]) -> tirx.Stmt:
    """The first case whose end lies beyond `position`."""
    *before, (_, stmt) = cases
    for end, case in reversed(before):
        stmt = tirx.IfThenElse(position < end, case, stmt)
    return stmt


def _sums(block: SBlock) -> ir.Expr:
    return tirx.BufferLoad(block.body.buffer, block.body.indices)


def _call(name: str, code: str, *places: ir.Expr) -> tirx.Stmt:
    called = tirx.Evaluate(tirx.call_extern("void", name, *(tirx.address_of(place) for place in places)))
    return tirx.AttrStmt(tirx.const(0), "pragma_import_llvm", ir.StringImm(code), called)


def _region(touched: ir.TensorRegion, spans: Mapping[tirx.Var, int]) -> ir.TensorRegion:
    """What a tile touches, from what its first element does: axes that loops walk in part, others whole."""
    ranges = []
    for one, extent in zip(touched.region, touched.source.ty.shape, strict=True):
        span = next((span for var, span in spans.items() if var.same_as(one.min)), None)
        ranges.append(ir.Range(0, extent) if span is None else ir.Range.from_min_extent(one.min, span))
    return ir.TensorRegion(touched.source, ranges, touched.ty)
