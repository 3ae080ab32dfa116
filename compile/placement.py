"""Where an image lies in a network's input, and the way back from there to the image's pixels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Fit = Literal["crop", "stretch", "letterbox"]
"""How an image of any size becomes an input of one size: `crop` loses the edges, `stretch` the aspect ratio,
`letterbox` neither, and leaves part of the input empty.
"""

Size = tuple[int, int]

OUTSIDE = 255
"""The class of pixels that a crop left out, which VOC's masks call void."""


@dataclass(frozen=True)
class Placement:
    """An image of `image` pixels, resized to `resized`, with its top left corner at `offset` of the input.

    The input has `input` pixels. All are (width, height) or (x, y). Where the offset is negative the image
    is cropped.
    """

    image: Size
    resized: Size
    offset: Size
    input: Size

    def to_image(self, boxes: NDArray[Any]) -> NDArray[np.float64]:
        """Boxes [..., 4] in pixels of the image, edges cut off at its own.

        `boxes` are x1, y1, x2, y2 from 0 to 1 of the input. A pixel is an area: the first is 0 to 1.
        """
        image = np.array(self.image * 2, np.float64)
        pixels = np.asarray(boxes, np.float64) * (self.input * 2) - self.offset * 2
        return np.clip(pixels * image / (self.resized * 2), 0, image)

    def mask_to_image(self, mask: NDArray[Any]) -> NDArray[Any]:
        """The class of each pixel of the image [height, width], from those [H, W] of the input.

        It is that of the pixel of the input in which the image's pixel has its centre, or OUTSIDE.
        """
        (columns, seen_columns), (rows, seen_rows) = (self._nearest(axis) for axis in (0, 1))
        classes = mask[np.ix_(rows, columns)]
        return np.where(np.outer(seen_rows, seen_columns), classes, classes.dtype.type(OUTSIDE))

    def _nearest(self, axis: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """The input's pixel for each of the image's along an axis, and whether there is one."""
        centres = (np.arange(self.image[axis]) + 0.5) * self.resized[axis] / self.image[axis]
        pixels = np.floor(centres).astype(np.int64) + self.offset[axis]
        last = self.input[axis] - 1
        return np.clip(pixels, 0, last), (pixels >= 0) & (pixels <= last)


def place(fit: Fit, image: Size, target: Size, shorter: int) -> Placement:
    """An image's place in an input of `target` pixels; `shorter` is its shorter side before a crop."""
    resized, offset = FITS[fit](image, target, shorter)
    return Placement(image, resized, offset, target)


def _crop(image: Size, target: Size, shorter: int) -> tuple[Size, Size]:
    """As torchvision's Resize and CenterCrop: the longer side is truncated, halves are rounded to even."""
    width, height = image
    longer = int(shorter * max(image) / min(image))
    resized = (shorter, longer) if width <= height else (longer, shorter)
    left, top = (round((before - after) / 2) for before, after in zip(resized, target, strict=True))
    return resized, (-left, -top)


def _stretch(_image: Size, target: Size, _shorter: int) -> tuple[Size, Size]:
    return target, (0, 0)


def _letterbox(image: Size, target: Size, _shorter: int) -> tuple[Size, Size]:
    """As large as it fits, in the middle."""
    scale = min(after / before for before, after in zip(image, target, strict=True))
    width, height = (max(1, round(scale * before)) for before in image)
    return (width, height), ((target[0] - width) // 2, (target[1] - height) // 2)


FITS: Mapping[Fit, Callable[[Size, Size, int], tuple[Size, Size]]] = {
    "crop": _crop,
    "stretch": _stretch,
    "letterbox": _letterbox,
}
"""(resized size, offset) by the image's size, the input's, and the shorter side before a crop."""
