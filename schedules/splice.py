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
from tvm.sym import Analyzer
from tvm_ffi import structural_map

from schedules import image_step, microkernel, pixel_tile, stencil
from schedules.clamp import by_bits
from schedules.epilogue import Epilogue, epilogue_of
from schedules.frame import Frame
from schedules.image_step import ImageStep, image_steps
from schedules.kernel import Decisions
from schedules.microkernel import STYLES
from schedules.operands import VECTOR
from schedules.pixel_tile import PixelTile
from schedules.step import Step
from schedules.strips import substituted
from schedules.surgery import (
    at_start,
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


def mark_tile(sch: Schedule, rows: LoopRV, pitch: int, style: str) -> None:
    """Ask for the nest at `rows` (rows, columns, inputs) to be a `microkernel.Tile`.

    The block must still have its init. `pitch`: elements from a row's pixel to the next row's.
    """
    sch.annotate(rows, _TILE, f"{pitch} {style}")


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
    """Ask for the nest at `rows` (rows, columns, inputs) of `block` to be a `PixelTile`.

    The sums, one vector after the other, are set outside `around`, which is `rows` or the window's loop.
    """
    start = sch.decompose_reduction(block, around)
    sch.annotate(rows, _PIXELS, f"{decisions['step']} {STYLES[decisions['load_style']]}")
    row, column = sch.get_loops(start)[-2:]
    unroll_all(sch, row, vectorize_channels(sch, column))


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
    stmt: tirx.Stmt = SBlockRealize(realize.iter_values, predicate, new)
    for loop in map(sch.get, reversed(own)):
        stmt = tirx.For(loop.loop_var, loop.min, 1, tirx.ForKind.SERIAL, stmt)
    if epilogue.finish.stored:
        put_in(sch, steps, stmt)
        drop_buffer(sch, old.body.buffer)
    else:
        sch.state.replace(sch.get_sref(own[0]), stmt)
        store = sch.get(reader).body
        rewrite(sch, reader, tirx.BufferStore(store.buffer, epilogue.rest, store.indices))
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
    body = _pixel_call(old, PixelTile(rows, columns, depth, int(step), _has_borders(old), style))
    reads, writes = _touched(old, loops, _PIXELS)
    new = SBlock(old.iter_vars, reads, writes, old.name_hint, body)
    stmt: tirx.Stmt = SBlockRealize(realize.iter_values, realize.predicate, new)
    for loop in reversed(loops):
        stmt = tirx.For(loop.loop_var, loop.min, 1, tirx.ForKind.SERIAL, stmt)
    (start,) = (each for each in sch.get_producers(block) if _sets(sch.get(each), old.body.buffer))
    sch.state.replace(sch.get_sref(nest[0]), stmt)
    if epilogue.finish.bias:
        first = sch.get(start).body
        (bias,) = epilogue.at(first.indices)
        rewrite(sch, start, tirx.BufferStore(first.buffer, bias, first.indices))
        store = sch.get(reader).body
        rewrite(sch, reader, tirx.BufferStore(store.buffer, epilogue.rest, store.indices))


def _sets(block: SBlock, buffer: tirx.Var) -> bool:
    return any(each.source.same_as(buffer) for each in block.writes)


_Replacement = tuple[list[tirx.Stmt], tirx.Stmt, Epilogue]
"""What goes before the loop around a nest, what is in its place, and how much of the epilogue that does."""


def _tile_call(
    block: SBlock, reader: SBlock, loops: Sequence[tirx.For], asked: str, may_store: bool
) -> _Replacement:
    """The tile that starts where the loops do."""
    pitch, style = asked.split(" ")
    rows, columns, depth = (int(loop.extent) for loop in loops)
    pixels, outputs = int(block.body.buffer.ty.shape[0]), int(reader.body.buffer.ty.shape[-1])
    is_whole = pixels % rows == 0 and outputs % columns == 0
    epilogue = epilogue_of(reader, block.body.buffer, may_store and is_whole)
    tile = microkernel.Tile(rows, columns, depth, int(pitch), style, epilogue.finish)
    product = block.body.value.b
    results = _results(block, epilogue, pixel_axis=0)
    return [], _call(tile.name, microkernel.llvm_ir(tile), *results, product.a, product.b), epilogue


def _results(block: SBlock, epilogue: Epilogue, pixel_axis: int) -> list[ir.Expr]:
    """What `Finish.parameters` names; `pixel_axis` is that of the sums on which pixels are neighbours."""
    place = list(block.body.indices)
    operands = epilogue.at(place)
    if not epilogue.finish.stored:
        return [tirx.BufferLoad(block.body.buffer, place), *operands]
    after = [index + (axis == pixel_axis) for axis, index in enumerate(place)]
    return [operands[0], epilogue.at(after)[0], *operands[1:]]


def _step_calls(
    block: SBlock, reader: SBlock, loops: Sequence[tirx.For], asked: str, may_store: bool
) -> _Replacement:
    """The kinds of step, told apart by where the step is; filters are loaded once for all steps of a row."""
    frame = Frame.read(asked)
    epilogue = epilogue_of(reader, block.body.buffer, may_store)
    y, x, r = (block.iter_vars[at].var for at in (1, 2, 4))
    product = block.body.value.b
    pixel = product.a if isinstance(product.a, ir.TensorLoad) else product.a.args[1]
    image, row, _, channel = pixel.indices
    results = _results(block, epilogue, pixel_axis=2)
    start = at_start(loops[-1].body.iter_values[3], loops)
    taps = [
        tirx.BufferLoad(product.b.source, [tap // frame.kernel[1], tap % frame.kernel[1], start])
        for tap in range(frame.kernel[0] * frame.kernel[1])
    ]
    if epilogue.finish.bias and frame.style != VECTOR:
        bias = epilogue.operands[1 if epilogue.finish.stored else 0]
        taps.append(tirx.BufferLoad(bias.source, [*([0] * (len(bias.indices) - 1)), start]))
    before, kept = [], []
    for tap in taps:
        kept.append(tirx.Var("kept", "float32x4"))
        before.append(tirx.Bind(kept[-1], tirx.call_extern("float32x4", stencil.LOAD, tirx.address_of(tap))))

    def call(step: Step) -> tirx.Stmt:
        column = x * frame.stride[1] - frame.padding[1] + step.pixels[0]
        rows = [
            tirx.BufferLoad(pixel.source, [image, substituted(row, r, tirx.const(tap)), column, channel])
            for tap in range(*step.taps)
        ]
        finished = replace(step, finish=epilogue.finish)
        return _call(finished.name, stencil.llvm_ir(finished), *results, *rows, *kept)

    rows = [
        (end, _chosen(x, [(until, call(frame.step(taps, part))) for until, part in frame.columns_spans()]))
        for end, taps in frame.rows_spans()
    ]
    return before, _chosen(y, rows), epilogue


def _image_calls(
    block: SBlock, reader: SBlock, loops: Sequence[tirx.For], asked: str, may_store: bool
) -> _Replacement:
    """The kinds of step of a stem, told apart by where the step is along the row."""
    frame = Frame.read(asked)
    channels = int(loops[1].extent)
    is_whole = int(reader.body.buffer.ty.shape[-1]) % channels == 0
    epilogue = epilogue_of(reader, block.body.buffer, may_store and is_whole)
    y, x, _, r, s, k = (axis.var for axis in block.iter_vars[1:])
    product = block.body.value.b
    pixel = product.a.args[1] if _has_borders(block) else product.a
    first, end = _inside(y, frame)
    image, _, row, column = pixel.indices

    def at(code: ir.Expr, tap: ir.Expr | int) -> ir.Expr:
        for axis, value in ((r, tap), (s, 0), (k, 0)):
            code = substituted(code, axis, value if isinstance(value, ir.Expr) else tirx.const(value))
        return code

    pitch = int(Analyzer().simplify(at(row, 1) - at(row, 0))) * int(pixel.source.ty.shape[3])
    weights = tirx.BufferLoad(product.b.source, [at(index, first) for index in product.b.indices])
    results = _results(block, epilogue, pixel_axis=2)

    def call(step: ImageStep) -> tirx.Stmt:
        place = at(row, first), at(column, first) + step.first_pixel
        planes = [tirx.BufferLoad(pixel.source, [image, plane, *place]) for plane in range(step.inputs)]
        finished = replace(step, finish=epilogue.finish)
        count = tirx.Cast("int32", end - first)
        return _call(finished.name, image_step.llvm_ir(finished), *results, count, weights, *planes)

    return [], _chosen(x, [(until, call(step)) for until, step in image_steps(frame, pitch)]), epilogue


def _inside(y: tirx.Var, frame: Frame) -> tuple[ir.Expr, ir.Expr]:
    """The rows of the window at output row `y` that are inside the image: first, and one after the last."""
    start, step = y * frame.stride[0] - frame.padding[0], frame.dilation[0]
    first, end = (tirx.floordiv(edge - start + step - 1, step) for edge in (0, frame.size[0]))
    return tirx.max(0, first), tirx.min(frame.kernel[0], end)


def _has_borders(block: SBlock) -> bool:
    """Whether what a block multiplies may lie beside the image."""
    return not isinstance(block.body.value.b.a, ir.TensorLoad)


def _pixel_call(block: SBlock, tile: PixelTile) -> tirx.Stmt:
    """One tap's tile: each output's pixel is as many elements from the data's beginning as its index says."""
    axis, product = block.iter_vars[0], block.body.value.b
    pixel = product.a.args[1] if tile.borders else product.a
    shape = pixel.source.ty.shape
    offset = pixel.indices[0]
    for extent, index in zip(shape[1:], pixel.indices[1:], strict=True):
        offset = offset * extent + index
    count = int(axis.dom.extent)
    inside = _without_likely(product.a.args[0]) if tile.borders else None

    def of_row(row: int) -> ir.Expr:
        output = axis.var + row
        if count % tile.rows:
            output = tirx.min(output, count - 1)
        found = substituted(offset, axis.var, output)
        if inside is not None:
            outside = tirx.const(-1, found.ty.dtype)
            found = tirx.Select(substituted(inside, axis.var, output), found, outside)
        return tirx.Cast("int32", found)

    data = tirx.BufferLoad(pixel.source, [0] * len(shape))
    sums = tirx.BufferLoad(block.body.buffer, block.body.indices)
    offsets = [of_row(row) for row in range(tile.rows)]
    return _call(tile.name, pixel_tile.llvm_ir(tile), sums, data, product.b, *offsets)


def _without_likely(tests: ir.Expr) -> ir.Expr:
    """`tests` without their `likely`, for which lowering would make copies of the loops around."""

    def plain(call: ir.Call) -> ir.Expr:
        return call.args[0] if str(getattr(call.op, "name", "")).endswith(".likely") else call

    return structural_map(tests, (ir.Call, plain))


_REPLACED = {_TILE: _tile_call, _STEPS: _step_calls, _IMAGE_STEPS: _image_calls}


def _chosen(position: tirx.Var, cases: list[tuple[int, tirx.Stmt]]) -> tirx.Stmt:
    """The first case whose end lies beyond `position`."""
    *before, (_, stmt) = cases
    for end, case in reversed(before):
        stmt = tirx.IfThenElse(position < end, case, stmt)
    return stmt


def _call(name: str, code: str, *values: ir.Expr) -> tirx.Stmt:
    """A call of `name`, for which `code` is attached; of a tensor's element it is given the address."""
    passed = [tirx.address_of(value) if isinstance(value, ir.TensorLoad) else value for value in values]
    called = tirx.Evaluate(tirx.call_extern("void", name, *passed))
    return tirx.AttrStmt(tirx.const(0), "pragma_import_llvm", ir.StringImm(code), called)


def _region(touched: ir.TensorRegion, spans: Mapping[tirx.Var, int]) -> ir.TensorRegion:
    """What a tile touches, from what its first element does: axes that loops walk in part, others whole."""
    ranges = []
    for one, extent in zip(touched.region, touched.source.ty.shape, strict=True):
        span = next((span for var, span in spans.items() if var.same_as(one.min)), None)
        ranges.append(ir.Range(0, extent) if span is None else ir.Range.from_min_extent(one.min, span))
    return ir.TensorRegion(touched.source, ranges, touched.ty)
