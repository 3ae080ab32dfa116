"""PASCAL VOC's layout: JPEGImages/ beside Annotations/ (boxes, XML) and SegmentationClass/ (masks).

labelme's examples have the same layout, or masks in SegmentationClassPNG/ or as .npy files; class_names.txt
names their classes. XML files may also lie beside the images.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

from compile.datasets.marks import Annotated, Annotations, Mark, class_names, image_beside
from targets.errors import UserError

_IMAGES = "JPEGImages"
_BOXES = "Annotations"
_MASKS = ("SegmentationClass", "SegmentationClassPNG", "SegmentationClassNpy")
_MASK_SUFFIXES = (".png", ".npy")
_SIDES = ("xmin", "ymin", "xmax", "ymax")


def find_boxes(root: Path) -> Path | None:
    """The folder with the XML files."""
    if not root.is_dir():
        return None
    return next((folder for folder in (root / _BOXES, root) if any(folder.glob("*.xml"))), None)


def read_boxes(folder: Path) -> Annotations:
    """The images of the XML files in `folder`; UserError, naming the file, where one is no such file."""
    files = sorted(folder.glob("*.xml"))
    images = folder.parent / _IMAGES if folder.name == _BOXES else folder
    found = [Annotated(image_beside(images, file.stem), _marks(file)) for file in files]
    used = (mark.name for image in found for mark in image.marks)
    return Annotations(found, class_names(folder.parent if folder.name == _BOXES else folder, used))


def find_masks(root: Path) -> Path | None:
    """The folder with the masks."""
    folders = (root / name for name in _MASKS)
    return next((folder for folder in folders if folder.is_dir() and mask_files(folder)), None)


def mask_files(folder: Path) -> Sequence[Path]:
    """The masks in a folder, by name: PNGs, or else .npy files."""
    found = (sorted(folder.glob(f"*{suffix}")) for suffix in _MASK_SUFFIXES)
    return next((files for files in found if files), [])


def image_of_mask(mask: Path) -> Path:
    """The image that a mask belongs to."""
    return image_beside(mask.parent.parent / _IMAGES, mask.stem)


def _marks(file: Path) -> list[Mark]:
    try:
        tree = ElementTree.parse(file)
        return [_mark(item) for item in tree.iter("object")]
    except (ElementTree.ParseError, OSError, ValueError) as error:
        raise UserError(f"{file} is not in VOC's format ({error}): see docs/validating.md.") from error


def _mark(item: ElementTree.Element) -> Mark:
    """VOC counts pixels from 1 and means the last one, too: as edges, xmin and ymin are one less."""
    texts = [item.findtext("name"), *(item.findtext(f"bndbox/{side}") for side in _SIDES)]
    missing = [side for side, text in zip(("name", *_SIDES), texts, strict=True) if not text]
    if missing:
        raise ValueError(f"an object has no {missing[0]}")
    name, *sides = (str(text) for text in texts)
    x1, y1, x2, y2 = (float(side) for side in sides)
    return Mark(name.strip(), (x1 - 1, y1 - 1, x2, y2), (item.findtext("difficult") or "0").strip() == "1")
