"""A camera's frame, uint8 by row and pixel, as the planes of normalised float32 that a stem reads.

Only the rows of a strip are ever laid out: a stem's kernel turns them around and normalises them just before
it reads them, so that they stay in the first-level cache and no image of float32 exists. Rows that two strips
see are laid out twice. Taps beside the image are left out after that, so that a border of zeros is one of
normalised zeros.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm import ir, te, tirx
from tvm.s_tir import Schedule
from tvm.s_tir.stmt import SBlock, SBlockRealize
from tvm.tirx import Stmt

from schedules.strips import extents_of
from schedules.surgery import whole_region
from schedules.tile import unroll_all
from schedules.window import Window, rows_seen

PLANES = "planes"
"""The block that lays rows out, and what it writes."""
STRIP_ROWS = 2
"""Output rows of a strip: more would put fewer rows out twice, but the planes and the output share L1."""
UNROLLED_CHANNELS = 4
"""Channels of a pixel that are taken apart at once: LLVM has a load for as many (`ld2` to `ld4`)."""


@dataclass(frozen=True)
class Camera:
    """A frame [batch, height, width, channels], and what makes numbers of it: pixel * scale + shift."""

    frame: te.Tensor
    scale: te.Tensor
    """[channels], as `shift`."""
    shift: te.Tensor

    def planes(self, window: Window) -> Planes:
        """The planes that the strips of a convolution by `window` see."""
        batch, height, width, channels = (int(extent) for extent in self.frame.shape)
        rows = strip_rows(window.output_size(height, width)[0])
        strips = window.output_size(height, width)[0] // rows
        extents = (batch, strips, channels, rows_seen(window, rows), width)

        def value(b: tirx.Var, strip: tirx.Var, k: tirx.Var, row: tirx.Var, x: tirx.Var) -> ir.Expr:
            seen = strip * (rows * window.stride[0]) + row - window.padding[0]
            return normalised(self.frame[b, inside(seen, height), x, k], self.scale[k], self.shift[k])

        return Planes(te.compute(extents, value, name=PLANES), window, rows)


@dataclass(frozen=True)
class Planes:
    """The planes of each strip: [batch, strip, channel, row, column]."""

    tensor: te.Tensor
    window: Window
    rows: int
    """Output rows of a strip."""

    def read(self, batch: ir.Expr, channel: ir.Expr, y: ir.Expr, tap: ir.Expr, column: ir.Expr) -> ir.Expr:
        """What the row `tap` of the window at output row `y` sees at `column`."""
        row = y % self.rows * self.window.stride[0] + tap * self.window.dilation[0]
        return self.tensor[batch, y // self.rows, channel, row, column]


def strip_rows(height: int) -> int:
    """Output rows of a strip of a stem that stands alone: a divisor of the output's height."""
    return max(rows for rows in range(1, STRIP_ROWS + 1) if height % rows == 0)


def normalised(pixel: ir.Expr, scale: ir.Expr, shift: ir.Expr) -> ir.Expr:
    """The number that a pixel stands for."""
    return tirx.Cast("float32", pixel) * scale + shift


def inside(row: ir.Expr, height: int) -> ir.Expr:
    """A row of the image for one that may lie beside it, whose numbers nothing reads."""
    return tirx.max(tirx.min(row, height - 1), 0)


def lay_out(sch: Schedule) -> None:
    """Take pixels apart, one after the other: LLVM then makes vectors of sixteen of them."""
    k, row, x = sch.get_loops(sch.get_sblock(PLANES))[-3:]
    sch.reorder(row, x, k)
    if int(sch.get(k).extent) <= UNROLLED_CHANNELS:
        unroll_all(sch, k)


def rows_of(
    camera: tuple[tirx.Var, tirx.Var, tirx.Var],
    batch: ir.Expr,
    first: ir.Expr,
    wanted: tuple[tirx.Var, ir.Expr | None],
    planes: tirx.Var,
) -> Stmt:
    """What fills `planes` [1, channels, rows, width] from row `first` of the frame on, the rows `wanted`: a
    variable, and what must hold of it, if anything. `camera` are the buffers of frame, scale and shift.
    """
    frame, scale, shift = camera
    _, channels, rows, width = extents_of(planes)
    height = extents_of(frame)[1]
    (row, is_wanted), x, k = wanted, tirx.Var("x", "int32"), tirx.Var("k", "int32")
    pixel = tirx.BufferLoad(frame, [batch, inside(first + row, height), x, k])
    value = normalised(pixel, tirx.BufferLoad(scale, [k]), tirx.BufferLoad(shift, [k]))
    apart = tirx.ForKind.UNROLLED if channels <= UNROLLED_CHANNELS else tirx.ForKind.SERIAL
    body: Stmt = tirx.For(k, 0, channels, apart, tirx.BufferStore(planes, value, [0, k, row, x]))
    body = tirx.For(x, 0, width, tirx.ForKind.SERIAL, body)
    body = body if is_wanted is None else tirx.IfThenElse(is_wanted, body, None)
    body = tirx.For(row, 0, rows, tirx.ForKind.SERIAL, body)
    reads = [whole_region(each) for each in camera]
    return SBlockRealize([], True, SBlock([], reads, [whole_region(planes)], PLANES, body))
