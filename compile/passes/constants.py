"""Constants of a Relax function as numpy arrays, and back."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from tvm import ir, relax


def array_of(expression: ir.Expr) -> NDArray[np.generic] | None:
    """The value of a tensor constant, or None for any other expression."""
    if isinstance(expression, ir.GenericConst) and hasattr(expression.value, "numpy"):
        value: NDArray[np.generic] = expression.value.numpy()
        return value
    return None


def constant(value: NDArray[np.generic]) -> ir.Expr:
    """A Relax constant holding `value`, contiguous."""
    return relax.const(np.ascontiguousarray(value))
