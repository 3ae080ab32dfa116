"""The window of a convolution or a pool: its size, how it moves, and what lies beyond the border."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

from tvm import ir, tirx


@dataclass(frozen=True)
class Window:
    """A sliding window; every pair is (height, width), in pixels."""

    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    """Top, left, bottom, right: each side its own, since TensorFlow's SAME is asymmetric at stride 2."""
    dilation: tuple[int, int] = (1, 1)

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Output (height, width) for an input of `height` x `width` pixels, rounded down."""
        top, left, bottom, right = self.padding
        reach = [(k - 1) * d + 1 for k, d in zip(self.kernel, self.dilation, strict=True)]
        return (
            (height + top + bottom - reach[0]) // self.stride[0] + 1,
            (width + left + right - reach[1]) // self.stride[1] + 1,
        )

    def shape(self) -> dict[str, int]:
        """The window's part of a workload's shape; what is usual (dilation 1) is left out."""
        named = {"kernel": self.kernel[0], "stride": self.stride[0]}
        if self.kernel[0] != self.kernel[1]:
            named["kernel_width"] = self.kernel[1]
        if self.stride[0] != self.stride[1]:
            named["stride_width"] = self.stride[1]
        if self.dilation != (1, 1):
            named["dilation"] = self.dilation[0]
        return named

    def details(self) -> dict[str, int]:
        """What a workload's shape leaves out."""
        return {"top": self.padding[0], "left": self.padding[1], "dilation_width": self.dilation[1]}


Read = Callable[[ir.Expr, ir.Expr], ir.Expr]
"""The element of an image at (row, column), its batch and channel being given."""


def padded_load(
    read: Read,
    size: tuple[int, int],
    window: Window,
    output: tuple[ir.Expr, ir.Expr],
    tap: tuple[ir.Expr, ir.Expr],
    outside: float = 0.0,
) -> ir.Expr:
    """What `tap` (row, column) of the window at `output` (row, column) sees: `read` there, or `outside`.

    `size` is the image's (height, width). The border's tests are marked likely, which lets loop
    partitioning cut the loops where they change.
    """
    row, column = (
        output[axis] * window.stride[axis] + tap[axis] * window.dilation[axis] - window.padding[axis]
        for axis in (0, 1)
    )
    tests = [
        test
        for axis, position in enumerate((row, column))
        for test in _border_tests(window, axis, position, size)
    ]
    if not tests:
        return read(row, column)
    inside = functools.reduce(tirx.And, tests)
    value = read(row, column)
    return tirx.if_then_else(inside, value, tirx.const(outside, value.dtype))


def _border_tests(window: Window, axis: int, position: ir.Expr, size: tuple[int, int]) -> list[ir.Expr]:
    """The tests that an access at `position` along `axis` needs: none where the window never leaves."""
    last_output = window.output_size(*size)[axis] - 1
    last = last_output * window.stride[axis] + (window.kernel[axis] - 1) * window.dilation[axis]
    tests = []
    if window.padding[axis] > 0:
        tests.append(tirx.likely(position >= 0))
    if last - window.padding[axis] >= size[axis]:
        tests.append(tirx.likely(position < size[axis]))
    return tests


def rows_seen(window: Window, rows: int) -> int:
    """Rows of the image that so many neighbouring rows of the output see, those beside it included."""
    return (rows - 1) * window.stride[0] + (window.kernel[0] - 1) * window.dilation[0] + 1


@dataclass(frozen=True)
class Taps:
    """Neighbouring outputs along an axis that see the same part of a window inside the image."""

    stop: int
    """The first output that is not one of them any more."""
    first: int
    """The first tap inside the image, and then the first that is not any more."""
    last: int

    @property
    def count(self) -> int:
        """Taps inside the image."""
        return self.last - self.first


def border_taps(window: Window, extent: int, outputs: int) -> list[Taps]:
    """The rows of an output, in runs that see the same taps: a border, the bulk, a border.

    The image has `extent` rows. A run may see no tap at all (its `count` is 0).
    """
    stride, dilation, kernel, before = (
        window.stride[0],
        window.dilation[0],
        window.kernel[0],
        window.padding[0],
    )
    runs: list[Taps] = []
    for output in range(outputs):
        start = output * stride - before
        inside = [tap for tap in range(kernel) if 0 <= start + tap * dilation < extent]
        first, last = (inside[0], inside[-1] + 1) if inside else (0, 0)
        if runs and (runs[-1].first, runs[-1].last) == (first, last):
            runs.pop()
        runs.append(Taps(output + 1, first, last))
    return runs
