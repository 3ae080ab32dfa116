"""Depthwise convolution over NHWC pixels: each channel has a filter of its own.

A block of channels is carried in vectors; `columns` neighbouring outputs are computed together, so that a
filter's weights stay in registers and each loaded pixel serves every output it touches. Borders are
tests on the load, which loop partitioning turns into loops of their own: no padded copy is made.
"""

from __future__ import annotations

from tvm import ir, te, tirx
from tvm.s_tir import Schedule
from tvm.s_tir.schedule import SBlockRV

from schedules.epilogue import epilogue_of
from schedules.frame import Frame
from schedules.kernel import LANES, Decisions, Workload, anchor, round_up, workload_of
from schedules.microkernel import BY_SCALAR, STYLES, VECTOR, WRITTEN_OUT, style_of, styles_of
from schedules.space import Decider, dividing_first
from schedules.splice import mark_steps
from schedules.tile import fold_epilogue, lanes_of, partition, unroll_all
from schedules.traffic import BYTES, lines_stay
from schedules.window import Window, padded_load
from targets.cores import Core

KIND = "depthwise"

COLUMNS = (7, 4, 6, 5, 8)
"""Outputs along a row per step, best first: with a 3x3 filter's nine vectors, seven leave no spill."""
FEW_COLUMNS = (4, 3, 2, 5)
"""The same for sixteen registers."""

BLOCKS = (16, 8, 4)
"""Channels per block, best first: 16 are a cache line, which is then read once."""

MAX_TAPS = 49
"""A filter is unrolled whole, which beyond 7x7 makes more code than an instruction cache holds."""


def define(data: te.Tensor, weight: te.Tensor, window: Window) -> te.Tensor:
    """The kernel before scheduling.

    `data` is [batch, height, width, channels]; `weight` is [kernel height, kernel width, channels].
    Returns [batch, height', width', channels].
    """
    batch, height, width, channels = (int(extent) for extent in data.shape)
    kernel_height, kernel_width = window.kernel
    out_height, out_width = window.output_size(height, width)
    r = te.reduce_axis((0, kernel_height), name="r")
    s = te.reduce_axis((0, kernel_width), name="s")

    def product(b: tirx.Var, y: tirx.Var, x: tirx.Var, c: tirx.Var) -> ir.Expr:
        pixel = padded_load(
            lambda row, column: data[b, row, column, c], (height, width), window, (y, x), (r, s)
        )
        return te.sum(pixel * weight[r, s, c], axis=[r, s])

    shape = {"h": out_height, "w": out_width, "c": channels, **window.shape()}
    outputs = batch * out_height * out_width * channels
    taps = kernel_height * kernel_width
    extents = (batch, out_height, out_width, channels)
    details = window.details() | {"height": height, "width": width}
    total = anchor(KIND, extents, product, shape, outputs * taps, details)
    return te.compute(extents, lambda b, y, x, c: total[b, y, x, c], name="pixels")


def decide(workload: Workload, core: Core, decider: Decider) -> Decisions:
    """The outputs per step, what is walked together, and whether the steps are written out."""
    style = style_of(core)
    candidates = FEW_COLUMNS if style == BY_SCALAR else COLUMNS
    columns = decider.choose("columns", dividing_first(workload["w"], candidates))
    blocks = [each for each in BLOCKS if round_up(workload["c"], LANES) % each == 0]
    style = STYLES[decider.choose("load_style", styles_of(core))]
    written_out = decider.choose("written_out", _written_out(workload, columns, style))
    strip = decider.choose("strip", _strips(workload, columns, core))
    block = decider.choose("block", blocks)
    return {
        "columns": columns,
        "strip": strip,
        "block": block,
        "lanes": LANES if written_out else lanes_of(core, block),
        "load_style": STYLES.index(style),
        "written_out": written_out,
    }


def _written_out(workload: Workload, columns: int, style: str) -> tuple[int, ...]:
    """Whether to write the steps out, best first."""
    can_be = style in WRITTEN_OUT and Frame.of(workload, workload["c"], columns, style).fits
    return (1, 0) if can_be else (0,)


def _strips(workload: Workload, columns: int, core: Core) -> list[int]:
    """Numbers of steps side by side that go down the image together: first the widest whose rows stay in the
    first-level cache for the rows below, then wider ones, then narrower.
    """
    steps = -(-workload["w"] // columns)
    if workload["h"] == 1:
        return [steps]
    divisors = [each for each in range(1, steps + 1) if steps % each == 0]
    staying = [each for each in divisors if _stays(workload, each * columns, core)] or [1]
    return [staying[-1], *(each for each in divisors if each > staying[-1]), *staying[-2::-1]]


def _stays(workload: Workload, outputs: int, core: Core) -> bool:
    """Whether a cache line of each pixel that so many outputs of a row see finds a place in its set."""
    frame = Frame.of(workload, workload["c"], outputs, VECTOR)
    (rows, columns), (_, stride), (down, across) = frame.kernel, frame.stride, frame.dilation
    pixels = (outputs - 1) * stride + (columns - 1) * across + 1
    seen = (row * down * frame.size[1] + pixel for row in range(rows) for pixel in range(pixels))
    return lines_stay((pixel * frame.channels * BYTES for pixel in seen), core)


def schedule(sch: Schedule, decisions: Decisions) -> None:
    """Lay the kernel out: strips of columns, blocks of channels, rows, then steps along the row."""
    workload = workload_of(sch)
    assert workload is not None
    columns, style, lanes = decisions["columns"], STYLES[decisions["load_style"]], decisions["lanes"]
    total = sch.get_sblock(KIND)
    output = fold_epilogue(sch, total)
    batch, y, x, c = sch.get_loops(output)
    strip, step, column = sch.split(x, [None, decisions["strip"], columns])
    block, vector, lane = sch.split(c, [None, decisions["block"] // lanes, lanes])
    sch.reorder(batch, strip, block, y, vector, step, column, lane)
    sch.vectorize(lane)
    sch.unroll(column)
    partition(sch, block, y)
    sch.compute_at(total, step, preserve_unit_loops=True)
    column, channel, r, s = sch.get_loops(total)[-4:]
    if decisions["written_out"] and _may_overlap(sch, total, output, workload["c"]):
        mark_steps(sch, column, Frame.of(workload, workload["c"], columns, style))
        return
    # Where steps are written out, each knows its kind: cut, loops of strips would do some steps again.
    partition(sch, step)
    vector, lane = sch.split(channel, [None, lanes])
    sch.reorder(r, s, column, vector, lane)
    # Lanes one by one, unrolled over a large window, are code that LLVM is minutes over.
    window = () if workload["c"] % LANES and workload["kernel"] > 3 else (r, s)
    unroll_all(sch, *window, column, vector)
    sch.vectorize(lane)
    sch.decompose_reduction(total, r)


def _may_overlap(sch: Schedule, total: SBlockRV, output: SBlockRV, channels: int) -> bool:
    """Whether the last vector of channels, if it is not whole, may do some again: where steps store them."""
    if channels % LANES == 0:
        return True
    finish = epilogue_of(sch.get(output), sch.get(total).body.buffer, may_store=True).finish
    return finish.stored and not finish.adds
