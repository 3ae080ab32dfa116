"""Drawing what a network says of an image into it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]

_OPACITY = 0.55
"""Of a class's colour over the image."""

# Parts of the picture's shorter side, and the fewest pixels.
_LINE = (1 / 200, 2)
_TEXT = (1 / 30, 12)


@dataclass(frozen=True)
class Drawn:
    """A box to draw: x1, y1, x2, y2 in pixels, what is written at it, and the class that colours it."""

    corners: Sequence[float]
    text: str
    label: int


def colour(label: int) -> Colour:
    """The class's colour: VOC's (VOCcolormap.m), bit by bit of the index from the highest of each channel."""
    red = green = blue = 0
    for place in range(7, -1, -1):
        red |= (label & 1) << place
        green |= (label >> 1 & 1) << place
        blue |= (label >> 2 & 1) << place
        label >>= 3
    return red, green, blue


def draw_boxes(picture: Image.Image, boxes: Sequence[Drawn]) -> Image.Image:
    """The picture with the boxes, the first on top."""
    drawn = picture.convert("RGB")
    pen, font = ImageDraw.Draw(drawn), _font(drawn)
    line = _of(drawn, _LINE)
    for box in reversed(boxes):
        x1, y1, x2, y2 = (round(side) for side in box.corners)
        shade = colour(box.label + 1)  # the background's is black
        pen.rectangle((x1, y1, max(x1, x2 - 1), max(y1, y2 - 1)), outline=shade, width=line)
        _, _, width, height = pen.textbbox((0, 0), box.text, font=font)
        left, top = min(x1, max(0, drawn.width - width)), max(0, y1 - height)
        pen.rectangle((left, top, left + width, top + height), fill=shade)
        pen.text((left, top), box.text, fill=_legible(shade), font=font)
    return drawn


def draw_classes(picture: Image.Image, classes: NDArray[Any], names: Mapping[int, str]) -> Image.Image:
    """The picture coloured by the class of each pixel [height, width], and under it a legend of `names`."""
    palette = np.array([colour(label) for label in range(256)], np.float32)
    pixels = np.asarray(picture.convert("RGB"), np.float32)
    mixed = pixels * (1 - _OPACITY) + palette[classes] * _OPACITY
    return _with_legend(Image.fromarray(mixed.round().astype(np.uint8)), names)


def _with_legend(picture: Image.Image, names: Mapping[int, str]) -> Image.Image:
    """Entries of a swatch and a name, in lines as wide as the picture."""
    font = _font(picture)
    row = round(font.size * 1.5)
    places, x, y = [], 0, 0
    for label, name in names.items():
        width = 2 * row + round(font.getlength(name))
        if x and x + width > picture.width:
            x, y = 0, y + row
        places.append((label, name, x, y))
        x += width
    drawn = Image.new("RGB", (picture.width, picture.height + y + row), "white")
    drawn.paste(picture)
    pen, margin = ImageDraw.Draw(drawn), row // 6
    for label, name, x, y in places:
        top = picture.height + y
        pen.rectangle((x + margin, top + margin, x + row - margin, top + row - margin), fill=colour(label))
        pen.text((x + row + margin, top + row // 2), name, fill="black", font=font, anchor="lm")
    return drawn


def _font(picture: Image.Image) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(_of(picture, _TEXT))
    assert isinstance(font, ImageFont.FreeTypeFont)  # so it is for any size that is given
    return font


def _of(picture: Image.Image, measure: tuple[float, int]) -> int:
    part, least = measure
    return max(least, round(part * min(picture.size)))


def _legible(shade: Colour) -> str:
    """Black or white, by the luminance of what is behind (ITU-R BT.601)."""
    red, green, blue = shade
    return "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else "white"
