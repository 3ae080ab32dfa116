"""Images with the class of each pixel: VOC's masks, as labelme writes them too, or labelme's polygons."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from compile.datasets import labelme, voc
from compile.datasets.images import find_images
from compile.datasets.marks import class_names, image_beside
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


@dataclass(frozen=True)
class Polygons:
    """labelme's shapes of an image, and the network's index for the name of each; others are VOID."""

    path: Path
    indices: Mapping[str, int]

    def read(self, height: int, width: int) -> NDArray[np.uint8]:
        """Classes [height, width], VOID where a pixel does not count; UserError where it is not labelme's."""
        picture = Image.new("L", (width, height), self.indices[labelme.BACKGROUND])
        pen = ImageDraw.Draw(picture)
        draw = {"polygon": pen.polygon, "rectangle": pen.rectangle}
        for shape in labelme.read_shapes(self.path):
            value = self.indices.get(shape.name, VOID)
            draw[shape.kind](list(shape.points), fill=value, outline=value)
        return np.array(picture)


def find_masks(root: Path, label_set: str | None) -> Dataset:
    """The images at `root` with a Mask or Polygons for truth, as far as there are annotations.

    Where class_names.txt names the masks' classes they are matched to those of `label_set` by name, else the
    pixels' values are the network's indices. Raises UserError where there is no image, or a file of polygons
    cannot be read.
    """
    for find, read in LAYOUTS.values():
        place = find(root)
        if place is not None:
            return read(place, label_set)
    return Dataset([Sample(sample.path) for sample in find_images(root, None)])


def _from_masks(folder: Path, label_set: str | None) -> Dataset:
    names = class_names(folder.parent, ())
    find = index_of(label_set, names)
    known = [find(name) for name in names] if label_set and names else list(range(VOID))
    indices = tuple(VOID if index is None else index for index in known)
    mapping = indices + (VOID,) * (VOID + 1 - len(indices))
    samples = [Sample(voc.image_of_mask(mask), Mask(mask, mapping)) for mask in voc.mask_files(folder)]
    return Dataset(samples, labels(label_set) if label_set else names or None)


def _from_polygons(folder: Path, label_set: str | None) -> Dataset:
    files = sorted(folder.glob("*.json"))
    shapes = [shape for file in files for shape in labelme.read_shapes(file)]
    used = Counter(shape.name for shape in shapes if shape.name != labelme.IGNORED)
    names = class_names(folder, used)
    names = [labelme.BACKGROUND, *(name for name in names if name != labelme.BACKGROUND)]
    find = index_of(label_set, names)
    indices = {name: VOID if (index := find(name)) is None else index for name in names}
    samples = [Sample(image_beside(folder, file.stem), Polygons(file, indices)) for file in files]
    unknown = {name: number for name, number in used.items() if indices.get(name, VOID) == VOID}
    return Dataset(samples, labels(label_set) if label_set else names, unknown)


LAYOUTS: Mapping[str, tuple[Callable[[Path], Path | None], Callable[[Path, str | None], Dataset]]] = {
    "VOC": (voc.find_masks, _from_masks),
    "labelme": (labelme.find, _from_polygons),
}
"""How a layout is told, and how what is found is read. The first that fits is taken."""


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
