"""A camera's frame that a network makes numbers of itself, in a way that the stem can do as it reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from tvm import ir

from compile.passes.constants import Array, array_of
from compile.passes.readers import is_to_planes, operator

Lookup = Callable[[ir.Expr], ir.Expr | None]
"""What an expression, a variable, is bound to, if anything."""

_Line = tuple[Array, Array]
"""What is multiplied, and what is added then, for each channel."""

_BEHIND: dict[str, Callable[[_Line, Array], _Line]] = {
    "add": lambda line, value: (line[0], line[1] + value * line[0]),
    "subtract": lambda line, value: (line[0], line[1] - value * line[0]),
    "multiply": lambda line, value: (line[0] * value, line[1]),
}
"""By operator: a line behind it, of x and a constant, as a line of x."""


@dataclass(frozen=True)
class Frames:
    """A frame, and what becomes of its pixels: pixel * scale + shift."""

    source: ir.Expr
    """uint8 [batch, height, width, channels]"""
    scale: Array
    """float32 [channels], as `shift`."""
    shift: Array


def frames_of(image: ir.Expr, bound: Lookup) -> Frames | None:
    """The frame that was turned to `image` [batch, channels, height, width], float32, and had constants of
    its channels added, subtracted or multiplied; None if it is nothing of the kind.
    """
    channels = int(image.ty.shape[1])
    line = np.ones(channels), np.zeros(channels)
    made = bound(image)
    while made is not None and operator(made) in _BEHIND:
        value = _by_channel(made.args[1], channels)
        if value is None:
            return None
        line = _BEHIND[operator(made)](line, value)
        made = bound(made.args[0])
    turned = bound(made.args[0]) if made is not None and operator(made) == "astype" else None
    if turned is None or not is_to_planes(turned) or str(turned.ty.dtype) != "uint8":
        return None
    scale, shift = (each.astype("float32") for each in line)
    return Frames(turned.args[0], scale, shift)


def _by_channel(expression: ir.Expr, channels: int) -> Array | None:
    """A constant's value for each channel of [batch, channels, height, width], if it is one."""
    value = array_of(expression)
    if value is None or value.size not in (1, channels):
        return None
    if value.size > 1 and value.shape[-3:] != (channels, 1, 1):
        return None
    return np.broadcast_to(value.reshape(-1).astype("float64"), (channels,))
