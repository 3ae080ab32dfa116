"""A convolution of the NHWC graph whose weights are constants, as the kernels see it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import SupportsInt

from tvm import ir, tirx

from compile.passes.constants import Array, array_of, constant
from compile.passes.frames import Frames, Lookup, frames_of
from schedules import depthwise
from schedules.window import Window


@dataclass(frozen=True)
class Convolution:
    """What is convolved, with what."""

    source: ir.Expr
    """What is read: the data itself, or the NCHW tensor that was transposed into it, or a camera's frame."""
    batch: int
    size: tuple[int, int]
    """(height, width) of the data."""
    inputs: int
    weight: Array
    """[kernel height, kernel width, inputs / groups, outputs]"""
    window: Window
    groups: int
    channels_last: bool
    """False: `source` is [batch, inputs, height, width], not [batch, height, width, inputs]."""
    camera: Frames | None = None
    """The frame that is `source`, where that is uint8; then it is [batch, height, width, inputs]."""

    @property
    def data(self) -> list[ir.Expr]:
        """The first arguments of its kernel: `source`, and what makes numbers of a frame."""
        numbers = [] if self.camera is None else [self.camera.scale, self.camera.shift]
        return [self.source, *map(constant, numbers)]

    @property
    def channels(self) -> int:
        """Output channels."""
        return int(self.weight.shape[3])

    @property
    def is_by_channel(self) -> bool:
        """Whether every channel has a filter of its own."""
        return self.groups == self.channels == self.inputs and self.groups > 1

    @property
    def is_depthwise(self) -> bool:
        """The same, with filters of a size that the depthwise kernel takes."""
        kernel = self.window.kernel
        return self.is_by_channel and kernel[0] * kernel[1] <= depthwise.MAX_TAPS

    @property
    def is_pointwise(self) -> bool:
        """Whether it is 1x1, over all channels."""
        return self.window.kernel == (1, 1) and self.groups == 1 and not any(self.window.padding)

    @property
    def kernel_weight(self) -> Array:
        """The weight as its kernel has it, not padded or packed: a 1x1 kernel's taps and a depthwise
        convolution's inputs are left out.
        """
        if self.is_depthwise:
            return self.weight[:, :, 0, :]
        return self.weight[0, 0] if self.window.kernel == (1, 1) and self.channels_last else self.weight


def convolution_of(value: ir.Expr | None, bound: Lookup) -> Convolution | None:
    """The convolution that `value` calls for, if it is one of float32, of known shape, with constant weights.

    `bound` tells what a variable is bound to, if known: a transposed image is read as it is, and a camera's
    frame before it is made numbers.
    """
    if not isinstance(value, ir.Call) or getattr(value.op, "name", "") != "relax.nn.conv2d":
        return None
    data, weight, attrs = value.args[0], array_of(value.args[1]), value.attrs
    if weight is None or (attrs.data_layout, attrs.kernel_layout) != ("NHWC", "HWIO"):
        return None
    if str(data.ty.dtype) != "float32" or str(value.ty.dtype) != "float32":
        return None
    if not all(isinstance(extent, int | tirx.IntImm) for extent in (*data.ty.shape, *value.ty.shape)):
        return None
    batch, height, width, inputs = (int(extent) for extent in data.ty.shape)
    window = Window(
        kernel=weight.shape[:2],
        stride=pair(attrs.strides),
        padding=sides(attrs.padding),
        dilation=pair(attrs.dilation),
    )
    image = _image(bound(data)) if window.kernel != (1, 1) and int(attrs.groups) == 1 else None
    camera = None if image is None else frames_of(image, bound)
    read = data if image is None else image if camera is None else camera.source
    return Convolution(
        read, batch, (height, width), inputs, weight, window, int(attrs.groups), image is None, camera
    )


def _image(source: ir.Expr | None) -> ir.Expr | None:
    """The NCHW tensor of which `source` is the NHWC transpose."""
    if not isinstance(source, ir.Call) or getattr(source.op, "name", "") != "relax.permute_dims":
        return None
    axes = source.attrs.axes
    return source.args[0] if axes is not None and [int(axis) for axis in axes] == [0, 2, 3, 1] else None


def pair(values: Iterable[SupportsInt]) -> tuple[int, int]:
    """Two extents as integers."""
    first, second = (int(value) for value in values)
    return first, second


def sides(values: Iterable[SupportsInt]) -> tuple[int, int, int, int]:
    """Four extents as integers: top, left, bottom, right."""
    top, left, bottom, right = (int(value) for value in values)
    return top, left, bottom, right
