"""An input or output of a network, and whether an array may be one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Tensor:
    """An input or output, as the library describes it."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    layout: str
    """NCHW or NHWC where it has four dimensions, else empty."""

    def __str__(self) -> str:
        return f"{self.name} ({self.dtype.name} {'x'.join(map(str, self.shape)) or 'scalar'})"

    def given(self, value: object) -> NDArray[Any]:
        """`value` as the library reads it: itself, or where it is not dense a copy.

        Raises TypeError for another type of element, ValueError for another shape.
        """
        array = np.asarray(value)
        self._check(array)
        return np.require(array, requirements=["C", "A"])

    def taken(self, array: NDArray[Any]) -> NDArray[Any]:
        """`array`, which the library may fill. Raises as `given`, and ValueError where it must be copied."""
        self._check(array)
        if not (array.flags.c_contiguous and array.flags.aligned and array.flags.writeable):
            raise ValueError(f"the array for {self} must be dense, aligned and writeable")
        return array

    def _check(self, array: NDArray[Any]) -> None:
        if array.dtype != self.dtype:
            raise TypeError(f"{self} wants {self.dtype.name}, not {array.dtype.name}: convert it with astype")
        if array.shape != self.shape:
            raise ValueError(f"{self} wants the shape {self.shape}, not {array.shape}")
