"""The calls of written-out loops, as they go in the place of a block's loops."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tvm import ir, tirx
from tvm.s_tir import SBlock
from tvm.sym import Analyzer
from tvm_ffi import structural_map

from schedules import image_step, microkernel, pixel_tile, stencil
from schedules.epilogue import Epilogue, epilogue_of
from schedules.frame import Frame
from schedules.image_step import ImageStep, image_steps
from schedules.kernel import LANES
from schedules.operands import VECTOR
from schedules.pixel_tile import PixelTile
from schedules.step import Step, kept_taps
from schedules.strips import substituted
from schedules.surgery import at_start

Replacement = tuple[list[tirx.Stmt], tirx.Stmt, Epilogue]
"""What goes before the loop around a nest, what is in its place, and how much of the epilogue that does."""


def tile_call(
    block: SBlock, reader: SBlock, loops: Sequence[tirx.For], asked: str, may_store: bool
) -> Replacement:
    """The tile that starts where the loops do; the last one may have fewer rows."""
    pitch, turn, style = asked.split(" ")
    rows, columns, depth = (int(loop.extent) for loop in loops)
    pixels, outputs = int(block.body.buffer.ty.shape[0]), int(reader.body.buffer.ty.shape[-1])
    epilogue = epilogue_of(reader, block.body.buffer, may_store and outputs % columns == 0)
    product = block.body.value.b
    results = _results(block, epilogue, pixel_axis=0)

    def call(rows: int) -> tirx.Stmt:
        tile = microkernel.Tile(rows, columns, depth, int(pitch), style, int(turn), epilogue.finish)
        return _call(tile.name, microkernel.llvm_ir(tile), *results, product.a, product.b)

    whole = pixels - pixels % rows
    cases = [(whole, call(rows))] if whole else []
    cases += [(pixels, call(pixels % rows))] if whole < pixels else []
    return [], _chosen(block.iter_vars[0].var, cases), epilogue


def _results(block: SBlock, epilogue: Epilogue, pixel_axis: int) -> list[ir.Expr]:
    """What `Finish.parameters` names; `pixel_axis` is that of the sums on which pixels are neighbours."""
    place = list(block.body.indices)
    operands = epilogue.at(place)
    if not epilogue.finish.stored:
        return [tirx.BufferLoad(block.body.buffer, place), *operands]
    after = epilogue.at([index + (axis == pixel_axis) for axis, index in enumerate(place)])
    return [operands[0], after[0], *operands[1:], *(after[-1:] if epilogue.finish.adds else [])]


def step_calls(
    block: SBlock, reader: SBlock, loops: Sequence[tirx.For], asked: str, may_store: bool
) -> Replacement:
    """The kinds of step, told apart by where the step is; filters are loaded once for all steps of a row."""
    frame = Frame.read(asked)
    epilogue = epilogue_of(reader, block.body.buffer, may_store)
    y, x, r = (block.iter_vars[at].var for at in (1, 2, 4))
    product = block.body.value.b
    pixel = product.a if isinstance(product.a, ir.TensorLoad) else product.a.args[1]
    image, row, *_ = pixel.indices
    channel = _start_inside(block.iter_vars[3].var, frame.channels)
    results = [
        substituted(each, block.iter_vars[3].var, channel) for each in _results(block, epilogue, pixel_axis=2)
    ]
    start = _start_inside(at_start(loops[-1].body.iter_values[3], loops), frame.channels)
    taps = [
        tirx.BufferLoad(product.b.source, [tap // frame.kernel[1], tap % frame.kernel[1], start])
        for tap in range(kept_taps(frame.kernel))
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
        first = [tirx.BufferLoad(product.b.source, [step.taps[0], 0, channel])] if step.streams else []
        finished = replace(step, finish=epilogue.finish)
        return _call(finished.name, stencil.llvm_ir(finished), *results, *first, *rows, *kept)

    rows = [
        (end, _chosen(x, [(until, call(frame.step(taps, part))) for until, part in frame.columns_spans()]))
        for end, taps in frame.rows_spans()
    ]
    return before, _chosen(y, rows), epilogue


def _start_inside(channel: ir.Expr, channels: int) -> ir.Expr:
    """The first channel of a vector: where the last one is not whole, it begins earlier, among done ones."""
    return tirx.min(channel, channels - LANES) if channels % LANES else channel


def image_calls(
    block: SBlock, reader: SBlock, loops: Sequence[tirx.For], asked: str, may_store: bool
) -> Replacement:
    """The kinds of step of a stem, told apart by where the step is along the row."""
    frame = Frame.read(asked)
    channels = int(loops[1].extent)
    is_whole = int(reader.body.buffer.ty.shape[-1]) % channels == 0
    epilogue = epilogue_of(reader, block.body.buffer, may_store and is_whole)
    y, x, _, r, s, k = (axis.var for axis in block.iter_vars[1:])
    product = block.body.value.b
    pixel = product.a.args[1] if has_borders(block) else product.a
    first, end = _inside(y, frame)
    *image, _, row, column = pixel.indices

    def at(code: ir.Expr, tap: ir.Expr | int) -> ir.Expr:
        for axis, value in ((r, tap), (s, 0), (k, 0)):
            code = substituted(code, axis, value if isinstance(value, ir.Expr) else tirx.const(value))
        return code

    pitch = int(Analyzer().simplify(at(row, 1) - at(row, 0))) * int(pixel.source.ty.shape[-1])
    weights = tirx.BufferLoad(product.b.source, [at(index, first) for index in product.b.indices])
    results = _results(block, epilogue, pixel_axis=2)

    def call(step: ImageStep) -> tirx.Stmt:
        place = at(row, first), at(column, first) + step.first_pixel
        planes = [tirx.BufferLoad(pixel.source, [*image, plane, *place]) for plane in range(step.inputs)]
        finished = replace(step, finish=epilogue.finish)
        count = tirx.Cast("int32", end - first)
        return _call(finished.name, image_step.llvm_ir(finished), *results, count, weights, *planes)

    return [], _chosen(x, [(until, call(step)) for until, step in image_steps(frame, pitch)]), epilogue


def _inside(y: tirx.Var, frame: Frame) -> tuple[ir.Expr, ir.Expr]:
    """The rows of the window at output row `y` that are inside the image: first, and one after the last."""
    start, step = y * frame.stride[0] - frame.padding[0], frame.dilation[0]
    first, end = (tirx.floordiv(edge - start + step - 1, step) for edge in (0, frame.size[0]))
    return tirx.max(0, first), tirx.min(frame.kernel[0], end)


def has_borders(block: SBlock) -> bool:
    """Whether what a block multiplies may lie beside the image."""
    return not isinstance(block.body.value.b.a, ir.TensorLoad)


def pixel_call(block: SBlock, tile: PixelTile) -> tirx.Stmt:
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
