"""From an image file to a network's input; by default as torchvision prepares ImageNet images.

A `Preprocess` is part of a model's description: the same steps run for PyTorch and for the device.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from compile.placement import FITS, Fit, Placement, place
from compile.source import FLOATS, FRAMES, Colour, InputFormat
from targets.errors import UserError

# What Pillow raises on files that are not images, or are damaged or absurdly large.
_UNREADABLE = (OSError, ValueError, SyntaxError, EOFError, struct.error, Image.DecompressionBombError)


@dataclass(frozen=True)
class Preprocess:
    """Resize (bilinear, antialiased) and place in the input as `fit` says, /255, normalise.

    `size` is the input's (height, width). `resize` is the image's shorter side before a crop, no smaller than
    `size`; the other fits do not use it. `mean` and `std` are per channel, R, G, B, on the scale 0 to 1; the
    defaults are ImageNet's, as torchvision's weights expect them. A letterbox is padded with the mean. Where
    `format` is FRAMES the network itself divides and normalises.
    """

    resize: int = 256
    size: tuple[int, int] = (224, 224)
    mean: Colour = (0.485, 0.456, 0.406)
    std: Colour = (0.229, 0.224, 0.225)
    fit: Fit = "crop"
    format: InputFormat = FLOATS

    def __post_init__(self) -> None:
        if self.fit not in FITS:
            raise ValueError(f"unknown fit {self.fit!r}: known are {', '.join(FITS)}")
        if min(self.size) < 1 or (self.fit == "crop" and max(self.size) > self.resize):
            raise ValueError(f"an input of {self.size} does not fit a shorter side of {self.resize}")

    def for_input(self, shape: Sequence[int]) -> Preprocess:
        """The same steps for an input of `shape` (N, 3, H, W): `resize` grows or shrinks with the size.

        Raises UserError when an image cannot be such an input.
        """
        if len(shape) != 4 or shape[1] != 3 or min(shape) < 1:
            given = "x".join(map(str, shape))
            raise UserError(f"An input of {given} cannot be an image: give one of 1x3xHEIGHTxWIDTH.")
        height, width = shape[2:]
        resize = round(max(height, width) * self.resize / max(self.size))
        return dataclasses.replace(self, resize=resize, size=(height, width))

    def fitted(self, fit: Fit) -> Preprocess:
        """The same steps with another fit; a crop loses as much as torchvision's of ImageNet."""
        usual = dataclasses.replace(Preprocess(fit=fit), mean=self.mean, std=self.std, format=self.format)
        return usual.for_input((1, 3, *self.size))

    def place(self, width: int, height: int) -> Placement:
        """Where an image of that size lies in the input."""
        return place(self.fit, (width, height), (self.size[1], self.size[0]), self.resize)

    def apply(self, image: str | Path | Image.Image) -> npt.NDArray[Any]:
        """The input tensor of an image: float32, NCHW, (1, 3, H, W), or of FRAMES uint8 (1, H, W, 3).

        Raises UserError, naming the file, when it is missing or not an image.
        """
        picture = image.convert("RGB") if isinstance(image, Image.Image) else open_image(image)
        placed = self.place(*picture.size)
        canvas = Image.new("RGB", placed.input, tuple(round(255 * value) for value in self.mean))
        canvas.paste(picture.resize(placed.resized, Image.Resampling.BILINEAR), placed.offset)
        if self.format == FRAMES:
            return np.array(canvas)[np.newaxis]
        pixels = np.asarray(canvas, dtype=np.float32) / np.float32(255)
        pixels = (pixels - np.array(self.mean, np.float32)) / np.array(self.std, np.float32)
        return np.ascontiguousarray(pixels.transpose(2, 0, 1)[np.newaxis])

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready description, which `from_json` takes back."""
        return {
            "fit": self.fit,
            "resize": self.resize,
            "size": list(self.size),
            "mean": list(self.mean),
            "std": list(self.std),
            "format": self.format,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Preprocess:
        """The Preprocess that `to_json` described; KeyError or ValueError when it is not one."""
        height, width = data["size"]
        mean_r, mean_g, mean_b = data["mean"]
        std_r, std_g, std_b = data["std"]
        mean, std = (mean_r, mean_g, mean_b), (std_r, std_g, std_b)
        return cls(data["resize"], (height, width), mean, std, data["fit"], data["format"])


def open_image(path: str | Path) -> Image.Image:
    """The decoded image in RGB; UserError, naming the file, when it is missing or not an image."""
    try:
        with Image.open(path) as image:
            picture: Image.Image = image.convert("RGB")
            return picture
    except FileNotFoundError:
        raise UserError(f"There is no image {path}.") from None
    except _UNREADABLE as error:
        reason = "not an image" if isinstance(error, UnidentifiedImageError) else str(error)
        raise UserError(f"Cannot read {path} as an image ({reason}): give a JPEG or PNG file.") from error
