"""A resize of the NHWC graph, as the kernels see it: what is read, and where each row and column lies in it."""

from __future__ import annotations

from dataclasses import dataclass

from tvm import ir, tirx

from compile.passes.constants import constant
from schedules.coordinates import Samples, between, nearest

BILINEAR = {"align_corners": True, "half_pixel": False, "pytorch_half_pixel": False}
"""Whether corners are aligned in the coordinate transformations that TVM calls so."""


@dataclass(frozen=True)
class Resize:
    """A resize of [batch, height, width, channels] pixels of float32, whose shape is known."""

    source: ir.Expr
    source_size: tuple[int, int]
    size: tuple[int, int]
    """(height, width), like `source_size`."""
    align_corners: bool | None
    """Of a bilinear one; None for the nearest pixel."""

    @property
    def is_bilinear(self) -> bool:
        """Whether pixels are mixed."""
        return self.align_corners is not None

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
    if attrs.layout != "NHWC" or {str(data.ty.dtype), str(value.ty.dtype)} != {"float32"}:
        return None
    if not all(isinstance(extent, int | tirx.IntImm) for extent in (*data.ty.shape, *value.ty.shape)):
        return None
    mode = str(attrs.coordinate_transformation_mode)
    if attrs.method == "linear" and mode in BILINEAR:
        align_corners: bool | None = BILINEAR[mode]
    elif (str(attrs.method), mode, str(attrs.rounding_method)) == ("nearest_neighbor", "asymmetric", "floor"):
        align_corners = None
    else:
        return None
    sizes = [(int(each.ty.shape[1]), int(each.ty.shape[2])) for each in (data, value)]
    return Resize(data, sizes[0], sizes[1], align_corners)
