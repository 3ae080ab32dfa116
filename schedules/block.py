"""A bottleneck as data: the convolutions that one kernel computes, and how it is cut into strips."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import Any

from schedules.kernel import Workload, round_up
from schedules.window import Taps, Window, border_taps, rows_seen

KIND = "bottleneck"
BYTES = 4
"""Of a float32."""
Clamp = tuple[float, float]
"""The lowest and the highest value that a stage puts out; infinite where it does not clamp."""


@dataclass(frozen=True)
class Expansion:
    """The first stage: a dense convolution, of 1x1 or (the stem) of `window`."""

    inputs: int
    size: tuple[int, int]
    """(height, width) of what it reads."""
    window: Window
    clamp: Clamp
    channels_last: bool
    """Whether it reads [batch, height, width, inputs]; else [batch, inputs, height, width]."""
    camera: bool = False
    """Whether it reads a camera's frame, uint8 [batch, height, width, inputs], as planes (camera.py)."""

    @property
    def is_pointwise(self) -> bool:
        """Whether an output row is made of one input row."""
        return self.window.kernel == (1, 1) and not any(self.window.padding) and self.channels_last

    def data_shape(self, batch: int) -> tuple[int, ...]:
        """The shape of what it reads."""
        if self.channels_last or self.camera:
            return (batch, *self.size, self.inputs)
        return (batch, self.inputs, *self.size)


@dataclass(frozen=True)
class Bottleneck:
    """A chain of convolutions that one kernel computes. A bias is added in each."""

    batch: int
    size: tuple[int, int]
    """(height, width) of what the depthwise convolution reads."""
    middle: int
    """Channels of the depthwise convolution."""
    outputs: int
    window: Window
    """The depthwise convolution's."""
    clamp: Clamp
    """After the depthwise convolution."""
    output_clamp: Clamp
    expansion: Expansion | None
    shortcut: bool
    """Whether a tensor of the output's shape is added at the end."""

    @property
    def data_shape(self) -> tuple[int, ...]:
        """The shape of what the kernel reads."""
        if self.expansion is None:
            return (self.batch, *self.size, self.middle)
        return self.expansion.data_shape(self.batch)

    @property
    def reads_frames(self) -> bool:
        """Whether it reads a camera's frame."""
        return self.expansion is not None and self.expansion.camera

    @property
    def output_size(self) -> tuple[int, int]:
        """(height, width) of the output."""
        return self.window.output_size(*self.size)

    @property
    def is_computable(self) -> bool:
        """Whether every output row sees some row of the image."""
        return all(run.count > 0 for run in (*self.depthwise_runs, *self.expansion_runs))

    @property
    def depthwise_runs(self) -> list[Taps]:
        """The output's rows, by the taps of the depthwise convolution that they see."""
        return border_taps(self.window, self.size[0], self.output_size[0])

    @property
    def expansion_runs(self) -> list[Taps]:
        """The rows that the depthwise convolution reads, by the taps of the expansion that they see."""
        first = self.expansion
        return [] if first is None else border_taps(first.window, first.size[0], self.size[0])

    def workload(self) -> Workload:
        """The workload: output size, channels in, in the middle and out, and the windows."""
        height, width = self.output_size
        first = self.expansion
        shape = {"h": height, "w": width}
        if first is not None:
            shape["k"] = first.inputs
        shape |= {"c": self.middle, "n": self.outputs, **self.window.shape()}
        if first is not None and first.window.kernel != (1, 1):
            shape["stem"] = first.window.kernel[0]
        if self.shortcut:
            shape["shortcut"] = 1
        per_output = self.middle * (math.prod(self.window.kernel) + self.outputs)
        multiply_adds = height * width * per_output
        if first is not None:
            multiply_adds += (
                math.prod(self.size) * self.middle * first.inputs * math.prod(first.window.kernel)
            )
        if self.reads_frames:
            shape["camera"] = 1
        return Workload(KIND, shape, self.batch * multiply_adds, description=self._description())

    def _description(self) -> str:
        """All of it as text. What is as it was before there were cameras is spelled as it was then, by which
        tuning records know it.
        """
        fields = asdict(self)
        if self.expansion is not None and not self.expansion.camera:
            del fields["expansion"]["camera"]
        return json.dumps(fields)

    @classmethod
    def read(cls, description: str) -> Bottleneck:
        """The bottleneck whose workload has `description`."""
        fields = json.loads(description)
        expansion = fields.pop("expansion")
        return cls(
            **_tuples(fields) | {"window": _window(fields["window"])},
            expansion=None
            if expansion is None
            else Expansion(**_tuples(expansion) | {"window": _window(expansion["window"])}),
        )


def _tuples(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}


def _window(fields: dict[str, Any]) -> Window:
    return Window(**_tuples(fields))


@dataclass(frozen=True)
class Plan:
    """A bottleneck cut into strips of output rows and groups of middle channels."""

    block: Bottleneck
    rows: int
    """Output rows of a strip; divides the output's height."""
    channels: int
    """Middle channels of a group. Without an expansion there is one group."""

    @property
    def group(self) -> int:
        """Middle channels that are computed together."""
        return self.block.middle if self.block.expansion is None else self.channels

    @property
    def groups(self) -> int:
        """Groups of middle channels."""
        return -(-self.block.middle // self.group)

    @property
    def middle(self) -> int:
        """Middle channels, filled up to whole groups."""
        return round_up(self.block.middle, self.group)

    @property
    def strips(self) -> int:
        """Strips of the output."""
        return self.block.output_size[0] // self.rows

    @property
    def advance(self) -> int:
        """Rows of the depthwise convolution's input from one strip to the next."""
        return self.rows * self.block.window.stride[0]

    @property
    def stop(self) -> int:
        """The first row of the depthwise convolution's input that the first strip does not need."""
        return self.advance - self.block.window.stride[0] - self.block.window.padding[0] + self._reach

    @property
    def ring_rows(self) -> int:
        """Rows of the depthwise convolution's input that a strip needs: older ones are overwritten."""
        return min(self.block.size[0], self.advance - self.block.window.stride[0] + self._reach)

    @property
    def _reach(self) -> int:
        return (self.block.window.kernel[0] - 1) * self.block.window.dilation[0] + 1

    @property
    def expanded_rows(self) -> int:
        """Rows that one call of the expansion makes: all of them where one strip is the whole image."""
        first, height = self.block.expansion, self.block.size[0]
        if first is None or not first.is_pointwise or first.window.stride != (1, 1):
            return 1
        return height if self.strips == 1 and self.stop >= height else 1

    @property
    def weight_bytes(self) -> int:
        """Bytes of all weights."""
        block = self.block
        weights = self.middle * (math.prod(block.window.kernel) + block.outputs)
        if block.expansion is not None:
            weights += self.middle * math.prod(block.expansion.window.kernel) * block.expansion.inputs
        return BYTES * weights

    @property
    def ring_shape(self) -> tuple[int, ...]:
        """The buffer of expanded rows: [group, row, column, channel of the group].

        Nothing of a group is kept where there is no next strip: one group's place serves them all.
        """
        return (self.groups if self.strips > 1 else 1, self.ring_rows, self.block.size[1], self.group)

    @property
    def strip_shape(self) -> tuple[int, ...]:
        """The buffer between the depthwise convolution and the projection: a strip of it."""
        return (1, self.rows, self.block.output_size[1], self.middle)

    @property
    def new_rows(self) -> int:
        """Rows of the depthwise convolution's input that a strip may be the first to need: the first strip
        needs more than the others, or less.
        """
        if self.strips == 1:
            return min(self.stop, self.block.size[0])
        return max(self.stop, self.advance)

    @property
    def planes_shape(self) -> tuple[int, ...]:
        """The buffer of a camera's rows, as the expansion of a strip's new rows reads them."""
        first = self.block.expansion
        assert first is not None
        return (1, first.inputs, rows_seen(first.window, self.new_rows), first.size[1])

    @property
    def workspace(self) -> list[tuple[int, ...]]:
        """The shapes of what a kernel needs while it runs: strip, ring, planes."""
        shapes = [self.strip_shape]
        if self.block.expansion is not None:
            shapes.append(self.ring_shape)
        return shapes + ([self.planes_shape] if self.block.reads_frames else [])

    @property
    def workspace_bytes(self) -> int:
        """Bytes of the workspace."""
        return BYTES * sum(math.prod(shape) for shape in self.workspace)
