"""Shapes of a Relax function's tensors, where they are known."""

from __future__ import annotations

from tvm import ir, tirx

Image = tuple[int, int, int, int]


def known_shape(expression: ir.Expr) -> tuple[int, ...] | None:
    """The shape of a tensor all of whose extents are known; None for anything else."""
    shape = getattr(expression.ty, "shape", None)
    if shape is None or not all(isinstance(extent, int | tirx.IntImm) for extent in shape):
        return None
    return tuple(int(extent) for extent in shape)


def image_shape(expression: ir.Expr) -> Image | None:
    """The shape of a float32 image, whichever axis its channels are; None for anything else."""
    shape = known_shape(expression)
    if shape is None or len(shape) != 4 or str(expression.ty.dtype) != "float32":
        return None
    return shape[0], shape[1], shape[2], shape[3]
