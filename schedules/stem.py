"""A network's first convolution: its window goes over an image in planes, as users have it.

Neighbouring outputs along a row by a panel of output channels are summed together. The sums are those of
image_step.py; where its registers or kinds of step do not suffice, LLVM's loops, the window unrolled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tvm import ir, te, tirx
from tvm.s_tir import Schedule
from tvm.s_tir.schedule import SBlockRV

from schedules.camera import PLANES, Camera, lay_out
from schedules.frame import Frame
from schedules.image_step import ImageStep, image_steps
from schedules.kernel import CHANNEL_MULTIPLE, LANES, Decisions, Workload, anchor, round_up, workload_of
from schedules.microkernel import BY_SCALAR, STYLES, WRITTEN_OUT, style_of
from schedules.space import Decider, dividing_first
from schedules.splice import mark_image_steps
from schedules.tile import fold_epilogue, lanes_of, partition, unroll_all, vectorize_channels
from schedules.window import Window, padded_load
from schedules.workspace import hoist
from targets.cores import Core

KIND = "stem"

COLUMNS = (7, 8, 6, 5, 4, 3, 2, 1)
"""Outputs along a row per step, best first."""
PANELS = (8, 16, 12)
"""Output channels per panel, best first."""
MAX_SUMS = 24
"""Vector registers for sums, which leaves some for the operands; of sixteen, half as many."""
MAX_KINDS = 6
"""Kinds of step that are written out along a row: each is two copies of a round."""
UNROLLED_TAPS = 32
"""LLVM's loops: a sum of at most so many products is unrolled whole, where there are registers for it."""
_STARTING = 16
"""Cycles of a step before its first round, about: what its first vectors wait for."""


def define(data: te.Tensor, weight: te.Tensor, channels: int, window: Window) -> te.Tensor:
    """The kernel before scheduling.

    `data` is [batch, inputs, height, width]; `weight` is [kernel height, kernel width, inputs, outputs], its
    outputs rounded up to CHANNEL_MULTIPLE with zeros. Returns [batch, height', width', channels].
    """

    def read(y: tirx.Var, r: tirx.Var, *place: ir.Expr) -> ir.Expr:  # noqa: ARG001
        return data[place]

    batch, inputs, height, width = (int(extent) for extent in data.shape)
    return _convolved((batch, inputs, height, width), read, weight, channels, window, {})


def define_of_frames(camera: Camera, weight: te.Tensor, channels: int, window: Window) -> te.Tensor:
    """The same of a camera's frames: their rows become planes strip by strip, in a workspace."""
    planes = camera.planes(window)
    batch, height, width, inputs = (int(extent) for extent in camera.frame.shape)

    def read(y: tirx.Var, r: tirx.Var, b: ir.Expr, k: ir.Expr, _row: ir.Expr, column: ir.Expr) -> ir.Expr:
        return planes.read(b, k, y, r, column)

    shape = (batch, inputs, height, width)
    return _convolved(shape, read, weight, channels, window, {"strip": planes.rows})


def _convolved(
    data: tuple[int, int, int, int],
    element: Callable[..., ir.Expr],
    weight: te.Tensor,
    channels: int,
    window: Window,
    more: Mapping[str, int],
) -> te.Tensor:
    """The sums over an image of shape `data`; `element` gives what the window's row r at output row y sees,
    which is the image's at (batch, input, row, column): element(y, r, *place).
    """
    batch, inputs, height, width = data
    out_height, out_width = window.output_size(height, width)
    r = te.reduce_axis((0, window.kernel[0]), name="r")
    s = te.reduce_axis((0, window.kernel[1]), name="s")
    k = te.reduce_axis((0, inputs), name="k")

    def product(b: tirx.Var, y: tirx.Var, x: tirx.Var, n: tirx.Var) -> ir.Expr:
        pixel = padded_load(
            lambda row, column: element(y, r, b, k, row, column), (height, width), window, (y, x), (r, s)
        )
        return te.sum(pixel * weight[r, s, k, n], axis=[r, s, k])

    shape = {"h": out_height, "w": out_width, "k": inputs, "n": channels, **window.shape()}
    details = window.details() | {"height": height, "width": width, **more}
    taps = window.kernel[0] * window.kernel[1] * inputs
    extents = (batch, out_height, out_width, int(weight.shape[3]))
    multiply_adds = batch * out_height * out_width * channels * taps
    total = anchor(KIND, extents, product, shape, multiply_adds, details)
    return te.compute((*extents[:3], channels), lambda b, y, x, n: total[b, y, x, n], name="pixels")


def decide(workload: Workload, core: Core, decider: Decider) -> Decisions:
    """Whether the steps are written out, their outputs, and the width of a panel."""
    style = style_of(core)
    fitting = sorted(
        (each for each in COLUMNS if each <= workload["w"] and _fits(workload, each, style)),
        key=lambda each: _cycles(Frame.of(workload, workload["k"], each, style)),
    )
    if decider.choose("written_out", (1, 0) if fitting else (0,)):
        return {
            "written_out": 1,
            "columns": decider.choose("columns", fitting),
            "channels": CHANNEL_MULTIPLE,
            "lanes": LANES,
            "load_style": STYLES.index(style),
        }
    few = style == BY_SCALAR
    columns = decider.choose("columns", dividing_first(workload["w"], COLUMNS[4:] if few else COLUMNS[:5]))
    padded, most = round_up(workload["n"], CHANNEL_MULTIPLE), MAX_SUMS // 2 if few else MAX_SUMS
    panels = [each for each in PANELS if padded % each == 0 and columns * each // LANES <= most]
    channels = decider.choose("channels", sorted(panels, key=lambda each: -lanes_of(core, each)))
    return {
        "written_out": 0,
        "columns": columns,
        "channels": channels,
        "lanes": lanes_of(core, channels),
        "unrolled": int(not few and _taps(workload) <= UNROLLED_TAPS),
    }


def _taps(workload: Workload) -> int:
    """The products of a sum."""
    height = workload["kernel"]
    return height * workload.shape.get("kernel_width", height) * workload["k"]


def _kinds(frame: Frame) -> list[tuple[int, ImageStep]]:
    return image_steps(frame, frame.size[1] * frame.dilation[0])


def _fits(workload: Workload, columns: int, style: str) -> bool:
    """Whether the steps can be written out: of every row some tap must be inside, and of every step.

    With fewer outputs than a panel, TVM makes the tile's buffer narrower than the panel that is written.
    """
    if style not in WRITTEN_OUT:
        return False
    frame = Frame.of(workload, workload["k"], columns, style)
    kinds = _kinds(frame)
    return (
        workload["n"] >= CHANNEL_MULTIPLE
        and len(kinds) <= MAX_KINDS
        and all(first < end for _, (first, end) in frame.rows_spans())
        and all(step.fits for _, step in kinds)
    )


def _cycles(frame: Frame) -> int:
    """About what a row takes, its border rows being like the others."""
    total, begin = 0, 0
    for end, step in _kinds(frame):
        each = frame.kernel[0] * step.cycles + _STARTING
        total += -(-(min(end, frame.outputs[1]) - begin) // frame.columns) * each
        begin = end
    return total


def schedule(sch: Schedule, decisions: Decisions) -> None:
    """Lay the kernel out: rows, steps along the row, channel panels, the window's sum inside."""
    workload = workload_of(sch)
    assert workload is not None
    columns, channels = decisions["columns"], decisions["channels"]
    total = sch.get_sblock(KIND)
    sch.transform_layout(total, ("read", 1), lambda r, s, k, n: (n // channels, r, s, k, n % channels))
    strip = workload.details.get("strip")
    output = fold_epilogue(sch, total, *([sch.get_sblock(PLANES)] if strip else []))
    _, y, x, n = sch.get_loops(output)
    around, y = sch.split(y, [None, strip]) if strip else (None, y)
    tile, column = sch.split(x, [None, columns])
    panel, channel = sch.split(n, [None, channels])
    sch.reorder(y, tile, panel, column, channel)
    unroll_all(sch, column, vectorize_channels(sch, channel, decisions["lanes"]))
    partition(sch, panel)
    sch.compute_at(total, panel, preserve_unit_loops=True)
    if around is not None:
        sch.compute_at(sch.get_sblock(PLANES), around, preserve_unit_loops=True)
        lay_out(sch)
    if decisions["written_out"]:
        column = sch.get_loops(total)[-5]
        mark_image_steps(
            sch, column, Frame.of(workload, workload["k"], columns, STYLES[decisions["load_style"]])
        )
    else:
        partition(sch, y, tile)
        _accumulate(sch, total, decisions["lanes"], bool(decisions["unrolled"]))
    if around is not None:
        hoist(sch, PLANES, axes=2)


def _accumulate(sch: Schedule, total: SBlockRV, lanes: int, unrolled: bool) -> None:
    column, channel, r, s, k = sch.get_loops(total)[-5:]
    vector, lane = sch.split(channel, [None, lanes])
    sch.vectorize(lane)
    sch.reorder(r, s, k, column, vector, lane)
    unroll_all(sch, *((r, s, k) if unrolled else (k,)))
    unroll_all(sch, column, vector)
    sch.decompose_reduction(total, r)
