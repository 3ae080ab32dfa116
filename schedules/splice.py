"""Puts written-out inner loops (microkernel.py, stencil.py) where a schedule asked for them.

A schedule marks the outermost loop of a tile's sum: an annotation, which traces keep. After the schedule
is applied, `splice()` replaces each marked loop nest by calls of the tile's function, whose LLVM IR is
attached to the call by TVM's `pragma_import_llvm`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from tvm import ir, tirx
from tvm.s_tir import SBlock, SBlockRealize, Schedule
from tvm.s_tir.schedule import LoopRV, SBlockRV
from tvm.tirx.stmt import BufferRegion

from schedules import microkernel, stencil
from schedules.clamp import by_bits
from schedules.epilogue import Epilogue, epilogue_of
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
    for block, nest, name, asked in list(_marked(sch)):
        _replace(sch, block, nest, name, asked)
    for block in sch.get_child_blocks(sch.get_sblock("root")):
        body = sch.get(block).body
        clamped = by_bits(body)
        if not clamped.same_as(body):
            _rewrite(sch, block, clamped)


def _marked(sch: Schedule) -> Iterator[tuple[SBlockRV, list[LoopRV], str, str]]:
    """Every marked nest with its block, the mark's name and what it says."""
    for block in sch.get_child_blocks(sch.get_sblock("root")):
        loops = sch.get_loops(block)
        for name, count in _LOOPS.items():
            asked = sch.get(loops[-count]).annotations.get(name) if len(loops) >= count else None
            if asked is not None:
                yield block, loops[-count:], name, str(asked)
                break


def _rewrite(
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


def _replace(sch: Schedule, block: SBlockRV, nest: list[LoopRV], name: str, asked: str) -> None:
    loops = [sch.get(loop) for loop in nest]
    extents = [int(loop.extent) for loop in loops]
    realize, old = loops[-1].body, sch.get(block)
    (reader,) = sch.get_consumers(block)
    is_beside = _is_beside(sch, nest[0], reader)
    if name == _TILE:
        pitch, style = asked.split(" ")
        rows, columns, depth = extents
        pixels, outputs = int(old.body.buffer.ty.shape[0]), int(sch.get(reader).body.buffer.ty.shape[-1])
        is_whole = pixels % rows == 0 and outputs % columns == 0
        epilogue = epilogue_of(sch.get(reader), old.body.buffer, is_beside and is_whole)
        tile = microkernel.Tile(rows, columns, depth, int(pitch), style, epilogue.finish)
        body = _tile_call(old, tile, epilogue)
    else:
        epilogue = epilogue_of(sch.get(reader), old.body.buffer, is_beside)
        body = _step_calls(old, Frame.read(asked), epilogue)
    axes = [axis.var for axis in old.iter_vars][-len(loops) :]
    spans = dict(zip(axes, extents, strict=True))
    reads, writes = ([_region(each, spans) for each in touched] for touched in (old.reads, old.writes))
    touched = [_whole(each.source) for each in epilogue.operands]
    if epilogue.finish.stored:
        writes, touched = touched[:1], touched[1:]
    new = SBlock(old.iter_vars, [*reads, *touched], writes, old.name_hint, body)
    predicate = realize.predicate
    if epilogue.finish.stored:
        predicate = _starts(sch, reader, sch.get_sref(nest[0]).parent.stmt)
    stmt: tirx.Stmt = SBlockRealize(realize.iter_values, predicate, new)
    for loop in reversed(loops):
        stmt = tirx.For(loop.loop_var, loop.min, 1, tirx.ForKind.SERIAL, stmt)
    if epilogue.finish.stored:
        _replace_with_reader(sch, nest[0], stmt, old.body.buffer)
        return
    sch.state.replace(sch.get_sref(nest[0]), stmt)
    if epilogue.finish.bias:
        store = sch.get(reader).body
        _rewrite(sch, reader, tirx.BufferStore(store.buffer, epilogue.rest, store.indices))


def _is_beside(sch: Schedule, nest: LoopRV, reader: SBlockRV) -> bool:
    """Whether the block that reads a nest's sums follows it, and nothing else is in the loop around them."""
    around = sch.get_sref(nest).parent.stmt
    if not isinstance(around, tirx.For) or not isinstance(around.body, tirx.SeqStmt):
        return False
    *others, last = around.body.seq
    while isinstance(last, tirx.For):
        last = last.body
    return len(others) == 1 and isinstance(last, SBlockRealize) and last.block.same_as(sch.get(reader))


def _starts(sch: Schedule, block: SBlockRV, around: tirx.For) -> ir.Expr:
    """Whether the first element that a block makes in the loop `around` it exists."""
    loops = [sch.get(loop) for loop in sch.get_loops(block)]
    predicate = loops[-1].body.predicate
    inner = next(at for at, loop in enumerate(loops) if loop.same_as(around)) + 1
    for loop in loops[inner:]:
        predicate = substituted(predicate, loop.loop_var, loop.min)
    return predicate


def _replace_with_reader(sch: Schedule, nest: LoopRV, stmt: tirx.Stmt, sums: tirx.Var) -> None:
    """Put `stmt` in the place of a nest and of the block that reads its sums, which are needed no more."""
    around = sch.get_sref(nest).parent
    loop = around.stmt
    alone = tirx.For(
        loop.loop_var, loop.min, loop.extent, loop.kind, stmt, loop.thread_binding, loop.annotations
    )
    sch.state.replace(around, alone)
    root = sch.get_sblock("root")
    kept = [each for each in sch.get(root).alloc_buffers if not each.same_as(sums)]
    _rewrite(sch, root, sch.get(root).body, kept)


def _tile_call(block: SBlock, tile: microkernel.Tile, epilogue: Epilogue) -> tirx.Stmt:
    """The tile that starts where the loops do."""
    product = block.body.value.b
    results = _results(block, epilogue, 0)
    return _call(tile.name, microkernel.llvm_ir(tile), *results, product.a, product.b)


def _results(block: SBlock, epilogue: Epilogue, pixel_axis: int) -> list[ir.Expr]:
    """What `Finish.parameters` names; `pixel_axis` is that of the sums on which pixels are neighbours."""
    if not epilogue.finish.stored:
        return [_sums(block), *epilogue.at(block.body.indices)]
    place = list(block.body.indices)
    after = [index + (axis == pixel_axis) for axis, index in enumerate(place)]
    output, *others = epilogue.at(place)
    return [output, epilogue.at(after)[0], *others]


def _step_calls(block: SBlock, frame: Frame, epilogue: Epilogue) -> tirx.Stmt:
    """The kinds of step, told apart by where the step is."""
    y, x, r = (block.iter_vars[at].var for at in (1, 2, 4))
    product = block.body.value.b
    pixel = product.a if isinstance(product.a, ir.TensorLoad) else product.a.args[1]
    image, row, _, channel = pixel.indices

    results = _results(block, epilogue, 2)

    def call(step: stencil.Step) -> tirx.Stmt:
        column = x * frame.stride[1] - frame.padding[1] + step.pixels[0]
        rows = [
            tirx.BufferLoad(pixel.source, [image, substituted(row, r, tirx.const(tap)), column, channel])
            for tap in range(*step.taps)
        ]
        weights = tirx.BufferLoad(product.b.source, [0, 0, product.b.indices[-1]])
        step = replace(step, finish=epilogue.finish)
        return _call(step.name, stencil.llvm_ir(step), *results, *rows, weights)

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


def _call(name: str, code: str, *values: ir.Expr) -> tirx.Stmt:
    """A call of `name`, for which `code` is attached; of a tensor's element it is given the address."""
    passed = [tirx.address_of(value) if isinstance(value, ir.TensorLoad) else value for value in values]
    called = tirx.Evaluate(tirx.call_extern("void", name, *passed))
    return tirx.AttrStmt(tirx.const(0), "pragma_import_llvm", ir.StringImm(code), called)


def _whole(buffer: tirx.Var) -> ir.TensorRegion:
    return BufferRegion(buffer, [ir.Range(0, extent) for extent in buffer.ty.shape])


def _region(touched: ir.TensorRegion, spans: Mapping[tirx.Var, int]) -> ir.TensorRegion:
    """What a tile touches, from what its first element does: axes that loops walk in part, others whole."""
    ranges = []
    for one, extent in zip(touched.region, touched.source.ty.shape, strict=True):
        span = next((span for var, span in spans.items() if var.same_as(one.min)), None)
        ranges.append(ir.Range(0, extent) if span is None else ir.Range.from_min_extent(one.min, span))
    return ir.TensorRegion(touched.source, ranges, touched.ty)
