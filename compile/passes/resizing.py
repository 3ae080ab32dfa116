"""A resize of the NHWC graph, as the kernels see it: what is read, and where rows and columns lie in it."""

from __future__ import annotations

from dataclasses import dataclass

from tvm import ir

from compile.passes.constants import constant
from compile.passes.shapes import Image, image_shape
from schedules.coordinates import Samples, between, nearest

BILINEAR = {"align_corners": True, "half_pixel": False, "pytorch_half_pixel": False}
"""Whether corners are aligned in the coordinate transformations that TVM calls so."""


@dataclass(frozen=True)
class Resize:
    """A resize of [batch, height, width, channels] pixels of float32, whose shape is known."""

    source: ir.Expr
    shape: Image
    """[batch, height, width, channels] of the source."""
    size: tuple[int, int]
    """(height, width) of the result."""
    align_corners: bool | None
    """Of a bilinear one; None for the nearest pixel."""

    @property
    def is_bilinear(self) -> bool:
        """Whether pixels are mixed."""
        return self.align_corners is not None

    @property
    def source_size(self) -> tuple[int, int]:
        """(height, width) of the source."""
        return self.shape[1:3]

    def samples(self, axis: int) -> Samples:
        """Where the rows (`axis` 0) or columns (1) of a bilinear resize lie."""
        return between(self.source_size[axis], self.size[axis], bool(self.align_corners))

    def nearest_tables(self) -> list[ir.Expr]:
        """The source's rows, and its columns."""
        return [constant(nearest(*extents)) for extents in zip(self.source_size, self.size, strict=True)]


def tables(rows: Samples, columns: Samples) -> list[ir.Expr]:
    """What a bilinear kernel reads beside the image."""
    return [constant(table) for each in (rows, columns) for table in (each.neighbours, each.weight)]


def resize_of(value: ir.Expr | None) -> Resize | None:
    """The resize that `value` calls for, if it is one that the kernels know."""
    if not isinstance(value, ir.Call) or getattr(value.op, "name", "") != "relax.image.resize2d":
        return None
    data, attrs = value.args[0], value.attrs
    shape, result = image_shape(data), image_shape(value)
    if attrs.layout != "NHWC" or shape is None or result is None:
        return None
    mode = str(attrs.coordinate_transformation_mode)
    if attrs.method == "linear" and mode in BILINEAR:
        align_corners: bool | None = BILINEAR[mode]
    elif (str(attrs.method), mode, str(attrs.rounding_method)) == ("nearest_neighbor", "asymmetric", "floor"):
        align_corners = None
    else:
        return None
    return Resize(data, shape, result[1:3], align_corners)
