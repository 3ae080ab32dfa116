"""Where a resized image's pixels lie in the source, as tables: one row or column is worked out once.

The arithmetic is PyTorch's, step by step in float32 (aten/src/ATen/native/UpSample.h), so that positions
agree with it to the last bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm import ir, tirx


@dataclass(frozen=True)
class Samples:
    """For each pixel along an axis of the result: the two source pixels that it lies between."""

    first: NDArray[np.int32]
    second: NDArray[np.int32]
    weight: NDArray[np.float32]
    """Of the second; the first has the rest."""

    @property
    def neighbours(self) -> NDArray[np.int32]:
        """[2, pixels]: first and second."""
        return np.stack([self.first, self.second])

    def padded(self, multiple: int) -> Samples:
        """The same with the last pixel repeated until their number is a multiple of `multiple`."""
        missing = -len(self.first) % multiple
        return Samples(*(np.pad(each, (0, missing), "edge") for each in self._columns))

    @property
    def _columns(self) -> tuple[NDArray[Any], ...]:
        return self.first, self.second, self.weight


def between(source: int, target: int, align_corners: bool) -> Samples:
    """Bilinear positions of `target` pixels along an axis of `source` pixels.

    `align_corners`: the outermost pixels' centres coincide; else the images' borders do ("half pixel").
    """
    pixels = np.arange(target, dtype=np.float32)
    if align_corners:
        scale = np.float32(source - 1) / np.float32(target - 1) if target > 1 else np.float32(0)
        position = pixels * scale
    else:
        scale = np.float32(source) / np.float32(target)
        # A fused multiply-add there: one rounding.
        exact = scale.astype(np.float64) * (pixels.astype(np.float64) + 0.5) - 0.5
        position = np.maximum(exact, 0).astype(np.float32)
    first = np.minimum(position.astype(np.int32), source - 1)
    weight = np.clip(position - first.astype(np.float32), 0, 1).astype(np.float32)
    return Samples(first, np.minimum(first + 1, source - 1), weight)


def nearest(source: int, target: int) -> NDArray[np.int32]:
    """The source pixel of each of `target` pixels: that at or before its position ("asymmetric", floor)."""
    scale = np.float32(source) / np.float32(target)
    position = np.floor(np.arange(target, dtype=np.float32) * scale).astype(np.int32)
    found: NDArray[np.int32] = np.minimum(position, source - 1)
    return found


def entry(value: ir.Expr, extent: int) -> ir.Expr:
    """A table's entry `value` as an index along an axis of `extent`.

    Masking changes nothing, but bounds it: TVM 0.27 counts with 64 bits where it cannot tell that 32 are
    enough, and then fails to partition loops whose start it has narrowed.
    """
    return tirx.bitwise_and(value, tirx.const((1 << (extent - 1).bit_length()) - 1, value.dtype))
