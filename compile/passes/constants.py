"""Constants of a Relax function as numpy arrays, and back."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm import ir, relax

Array = NDArray[Any]


def array_of(expression: ir.Expr) -> Array | None:
    """The value of a tensor constant, or None for any other expression."""
    if isinstance(expression, ir.GenericConst) and hasattr(expression.value, "numpy"):
        value: Array = expression.value.numpy()
        return value
    return None


def constant(value: Array) -> ir.Expr:
    """A Relax constant holding `value`, contiguous."""
    return relax.const(np.ascontiguousarray(value))
