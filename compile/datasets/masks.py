"""Images with masks, the class of each pixel: VOC's layout, as labelme writes it too."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from compile.datasets import voc
from compile.datasets.images import find_images
from compile.datasets.marks import class_names
from compile.datasets.sample import Dataset, Sample, index_of
from compile.labels import labels
from targets.errors import UserError

VOID = 255
"""Pixels that do not count: VOC's borders. In .npy files -1 means the same."""


@dataclass(frozen=True)
class Mask:
    """A file with the class of each pixel, and the network's index for each class of the file."""

    path: Path
    indices: tuple[int, ...]

    def read(self, height: int, width: int) -> NDArray[np.uint8]:
        """Classes [height, width], VOID where a pixel does not count.

        Raises UserError, naming the file, where it is no mask of such an image.
        """
        values = _READERS[self.path.suffix.lower()](self.path)
        if values.shape != (height, width):
            size = "x".join(map(str, values.shape[::-1]))
            raise UserError(f"The mask {self.path} has {size} pixels, its image {width}x{height}.")
        return np.array(self.indices, np.uint8).take(values)


def find_masks(root: Path, label_set: str | None) -> Dataset:
    """The images at `root` with a Mask for truth, as far as there are masks.

    Where class_names.txt names the masks' classes they are matched to those of `label_set` by name, else the
    pixels' values are the network's indices. Raises UserError where there is no image.
    """
    folder = voc.find_masks(root)
    if folder is None:
        return Dataset([Sample(sample.path) for sample in find_images(root, None)])
    names = class_names(root, ())
    find = index_of(label_set, names)
    known = [find(name) for name in names] if label_set and names else list(range(VOID))
    indices = tuple(VOID if index is None else index for index in known)
    mapping = indices + (VOID,) * (VOID + 1 - len(indices))
    samples = [Sample(voc.image_of_mask(mask), Mask(mask, mapping)) for mask in voc.mask_files(folder)]
    return Dataset(samples, labels(label_set) if label_set else names or None)


def _from_picture(path: Path) -> NDArray[np.uint8]:
    try:
        with Image.open(path) as picture:
            mode, values = picture.mode, np.asarray(picture)
    except (OSError, ValueError, SyntaxError) as error:
        raise UserError(f"Cannot read the mask {path} ({error}): give a PNG file.") from error
    if mode not in ("P", "L"):
        raise UserError(
            f"The mask {path} is a picture of colours ({mode}): give one whose values are classes, with a "
            "palette or in grey."
        )
    return values.astype(np.uint8)


def _from_array(path: Path) -> NDArray[np.uint8]:
    try:
        values = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"Cannot read the mask {path} ({error}): give whole numbers.") from error
    if values.ndim != 2 or values.dtype.kind not in "iu":
        raise UserError(f"The mask {path} is no array of whole numbers [height, width].")
    return np.where((values < 0) | (values > VOID), VOID, values).astype(np.uint8)


_READERS = {".png": _from_picture, ".npy": _from_array}
