"""Images woven into one: of pixels, for a transposed convolution's phases, or of channels, to shuffle them.

Which image an output's element comes from depends on its position modulo a stride; the loops are cut so that
it is known when the kernel is compiled.
"""

from __future__ import annotations

from collections.abc import Sequence

from tvm import ir, te, tirx
from tvm.s_tir import Schedule

from schedules.kernel import Decisions, Workload, anchor, workload_of
from schedules.space import Decider
from schedules.tile import fold_epilogue, partition, unroll_all, vectorize_channels
from targets.cores import Core

KIND = "interleave"

BLOCKS = (32, 16, 8, 4)
"""Channels of a step where pixels are woven, best first."""
STEPS = (8, 4, 16)
"""Channels of an image in a step where channels are woven, best first."""


def define_pixels(
    images: Sequence[te.Tensor], stride: int, size: tuple[int, int], channels: int
) -> te.Tensor:
    """[batch, height, width, channels] of `size`: each pixel comes from one of stride x stride phases.

    Pixel (y, x) is that at (y // stride, x // stride) of the phase (y % stride) * stride + x % stride. The
    phases are `images`, each [batch, height', width', channels]; or a single image's groups of channels.
    """

    def read(phase: int, b: ir.Expr, y: ir.Expr, x: ir.Expr, c: ir.Expr) -> ir.Expr:
        is_one = len(images) == 1
        image = images[0] if is_one else images[phase]
        return image[b, y // stride, x // stride, c + phase * channels if is_one else c]

    def body(b: tirx.Var, y: tirx.Var, x: tirx.Var, c: tirx.Var) -> ir.Expr:
        rows = [
            _chosen(x % stride, [read(row * stride + column, b, y, x, c) for column in range(stride)])
            for row in range(stride)
        ]
        return _chosen(y % stride, rows)

    extents = (int(images[0].shape[0]), *size, channels)
    shape = {"h": size[0], "w": size[1], "c": channels, "stride": stride}
    return anchor(KIND, extents, body, shape, 0)


def define_channels(images: Sequence[te.Tensor], groups: int) -> te.Tensor:
    """[batch, height, width, channels], where channel i * groups + j is channel i of the group j.

    The groups are `images`, each [batch, height, width, channels / groups]; or the parts of a single image.
    """
    batch, height, width, last = (int(extent) for extent in images[0].shape)
    is_one = len(images) == 1
    each = last // groups if is_one else last

    def body(b: tirx.Var, y: tirx.Var, x: tirx.Var, c: tirx.Var) -> ir.Expr:
        values = [
            images[0][b, y, x, c // groups + at * each] if is_one else images[at][b, y, x, c // groups]
            for at in range(groups)
        ]
        return _chosen(c % groups, values)

    shape = {"h": height, "w": width, "c": each * groups, "groups": groups}
    return anchor(KIND, (batch, height, width, each * groups), body, shape, 0)


def _chosen(position: ir.Expr, values: Sequence[ir.Expr]) -> ir.Expr:
    """The value whose index is `position`."""
    chosen = values[-1]
    for at in reversed(range(len(values) - 1)):
        chosen = tirx.if_then_else(position == at, values[at], chosen)
    return chosen


def decide(workload: Workload, core: Core, decider: Decider) -> Decisions:  # noqa: ARG001
    """The block of channels, or of a group's channels."""
    if "groups" in workload.shape:
        return {"step": decider.choose("step", STEPS)}
    return {"block": decider.choose("block", BLOCKS)}


def schedule(sch: Schedule, decisions: Decisions) -> None:
    """Lay the kernel out: pixels, with those of all phases inside; or the channels of all groups."""
    workload = workload_of(sch)
    assert workload is not None
    woven = sch.get_sblock(KIND)
    output = fold_epilogue(sch, woven)
    if not sch.get(woven).same_as(sch.get(output)):
        sch.compute_inline(woven)
    _, y, x, c = sch.get_loops(output)
    if "groups" in workload.shape:
        turn, channel, group = sch.split(c, [None, decisions["step"], workload["groups"]])
        partition(sch, turn)
        unroll_all(sch, channel, group)
        return
    y, row = sch.split(y, [None, workload["stride"]])
    x, column = sch.split(x, [None, workload["stride"]])
    block, channel = sch.split(c, [None, decisions["block"]])
    sch.reorder(y, row, x, column, block, channel)
    unroll_all(sch, row, column, vectorize_channels(sch, channel))
    partition(sch, y, x, block)
