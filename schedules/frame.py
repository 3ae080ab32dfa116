"""Which steps a depthwise convolution needs: one kind for the interior, others at the borders."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from schedules.kernel import LANES, Workload
from schedules.step import Step

MAX_PRODUCTS = 2800
"""Multiply-adds that are written out in one kernel: more is more code than an instruction cache likes."""

Inside = tuple[int, int]
"""First, and one after the last, of what lies inside the image."""


@dataclass(frozen=True)
class Frame:
    """Where the steps of a depthwise convolution lie in its image; every pair is (height, width)."""

    size: tuple[int, int]
    outputs: tuple[int, int]
    channels: int
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    """At the top and at the left."""
    dilation: tuple[int, int]
    columns: int
    style: str

    @classmethod
    def of(cls, workload: Workload, channels: int, columns: int, style: str) -> Frame:
        """That of a convolution whose workload says where its image ends (`details`)."""
        shape, details = workload.shape, workload.details
        return cls(
            size=(details["height"], details["width"]),
            outputs=(shape["h"], shape["w"]),
            channels=channels,
            kernel=(shape["kernel"], shape.get("kernel_width", shape["kernel"])),
            stride=(shape["stride"], shape.get("stride_width", shape["stride"])),
            padding=(details["top"], details["left"]),
            dilation=(shape.get("dilation", 1), details["dilation_width"]),
            columns=columns,
            style=style,
        )

    def spelled(self) -> str:
        """As text, for an annotation."""
        pairs = (self.size, self.outputs, self.kernel, self.stride, self.padding, self.dilation)
        numbers = [number for pair in pairs for number in pair]
        return " ".join(map(str, [*numbers, self.channels, self.columns, self.style]))

    @classmethod
    def read(cls, text: str) -> Frame:
        """What `spelled` wrote."""
        *numbers, style = text.split(" ")
        *ends, channels, columns = map(int, numbers)
        size, outputs, kernel, stride, padding, dilation = zip(ends[0::2], ends[1::2], strict=True)
        return cls(size, outputs, channels, kernel, stride, padding, dilation, columns, style)

    @property
    def fits(self) -> bool:
        """Whether all its kinds of step can be written out, and are not too much code."""
        rows, columns = self.rows_spans(), self.columns_spans()
        steps = [self.step(taps, part) for _, taps in rows for _, part in columns]
        return (
            self.channels >= LANES
            and sum(len(step.products) for step in steps) <= MAX_PRODUCTS
            and all(step.fits for step in steps)
        )

    def rows_spans(self) -> list[tuple[int, Inside]]:
        """Runs of output rows whose windows have the same rows inside."""

        def inside(y: int) -> Inside:
            first = y * self.stride[0] - self.padding[0]
            rows = [r for r in range(self.kernel[0]) if 0 <= first + r * self.dilation[0] < self.size[0]]
            return (rows[0], rows[-1] + 1) if rows else (0, 0)

        return _runs([(y + 1, inside(y)) for y in range(self.outputs[0])])

    def columns_spans(self) -> list[tuple[int, tuple[int, Inside]]]:
        """Runs of steps along a row that have as many outputs, and the same columns inside."""

        def part(x: int) -> tuple[int, Inside]:
            columns = min(self.columns, self.outputs[1] - x)
            first = x * self.stride[1] - self.padding[1]
            reach = (columns - 1) * self.stride[1] + (self.kernel[1] - 1) * self.dilation[1] + 1
            return columns, (min(max(0, -first), reach), max(0, min(reach, self.size[1] - first)))

        starts = range(0, self.outputs[1], self.columns)
        return _runs([(x + self.columns, part(x)) for x in starts])

    def step(self, taps: Inside, part: tuple[int, Inside]) -> Step:
        """The step of a run of rows and a run of columns."""
        columns, pixels = part
        stride, dilation = self.stride[1], self.dilation[1]
        return Step(columns, self.kernel, stride, dilation, taps, pixels, self.channels, self.style)


_T = TypeVar("_T")


def _runs(values: list[tuple[int, _T]]) -> list[tuple[int, _T]]:
    """(End, value) with neighbours of one value made one."""
    return [
        (end, value)
        for at, (end, value) in enumerate(values)
        if at + 1 == len(values) or values[at + 1][1] != value
    ]
