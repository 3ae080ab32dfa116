"""From an image file to a network's input, as torchvision prepares ImageNet images.

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

from targets.errors import UserError

# What Pillow raises on files that are not images, or are damaged or absurdly large.
_UNREADABLE = (OSError, ValueError, SyntaxError, EOFError, struct.error, Image.DecompressionBombError)


@dataclass(frozen=True)
class Preprocess:
    """Shorter side to `resize` (bilinear, antialiased), centre crop to `crop`, /255, normalise.

    `crop` is (height, width), neither larger than `resize`. `mean` and `std` are per channel, R, G, B, on
    the scale 0 to 1; the defaults are ImageNet's, as torchvision's weights expect them.
    """

    resize: int = 256
    crop: tuple[int, int] = (224, 224)
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)

    def __post_init__(self) -> None:
        if not 0 < min(self.crop) <= max(self.crop) <= self.resize:
            raise ValueError(f"a crop of {self.crop} does not fit a shorter side of {self.resize}")

    def for_input(self, shape: Sequence[int]) -> Preprocess:
        """The same steps for an input of `shape` (N, 3, H, W): `resize` grows or shrinks with the crop.

        Raises UserError when an image cannot be such an input.
        """
        if len(shape) != 4 or shape[1] != 3 or min(shape) < 1:
            given = "x".join(map(str, shape))
            raise UserError(f"An input of {given} cannot be an image: give one of 1x3xHEIGHTxWIDTH.")
        height, width = shape[2:]
        resize = round(max(height, width) * self.resize / max(self.crop))
        return dataclasses.replace(self, resize=resize, crop=(height, width))

    def apply(self, image: str | Path | Image.Image) -> npt.NDArray[np.float32]:
        """The input tensor of an image: float32, NCHW, (1, 3, H, W).

        Raises UserError, naming the file, when it is missing or not an image.
        """
        picture = image.convert("RGB") if isinstance(image, Image.Image) else open_image(image)
        picture = _centre_crop(_resize_shorter_side(picture, self.resize), self.crop)
        pixels = np.asarray(picture, dtype=np.float32) / np.float32(255)
        pixels = (pixels - np.array(self.mean, np.float32)) / np.array(self.std, np.float32)
        return np.ascontiguousarray(pixels.transpose(2, 0, 1)[np.newaxis])

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready description, which `from_json` takes back."""
        return {
            "resize": self.resize,
            "crop": list(self.crop),
            "mean": list(self.mean),
            "std": list(self.std),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Preprocess:
        """The Preprocess that `to_json` described; KeyError or ValueError when it is not one."""
        height, width = data["crop"]
        mean_r, mean_g, mean_b = data["mean"]
        std_r, std_g, std_b = data["std"]
        return cls(data["resize"], (height, width), (mean_r, mean_g, mean_b), (std_r, std_g, std_b))


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


def _resize_shorter_side(image: Image.Image, size: int) -> Image.Image:
    """As torchvision's Resize: the longer side is truncated to a whole number."""
    width, height = image.size
    shorter, longer = min(width, height), max(width, height)
    scaled = int(size * longer / shorter)
    new_size = (size, scaled) if width <= height else (scaled, size)
    return image.resize(new_size, Image.Resampling.BILINEAR)


def _centre_crop(image: Image.Image, crop: tuple[int, int]) -> Image.Image:
    """As torchvision's CenterCrop: halves are rounded to even."""
    height, width = crop
    top = round((image.height - height) / 2)
    left = round((image.width - width) / 2)
    return image.crop((left, top, left + width, top + height))
