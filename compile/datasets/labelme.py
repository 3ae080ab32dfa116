"""labelme's own layout: a JSON file of shapes beside each image.

https://github.com/wkentaro/labelme, labelme/_label_file.py
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from compile.datasets.marks import Annotated, Annotations, Mark, class_names, image_beside, read_json
from targets.errors import UserError

_AREAS = ("rectangle", "polygon")
_IGNORED = "__ignore__"


def find(root: Path) -> Path | None:
    """The folder, where each of its JSON files lies beside an image."""
    files = sorted(root.glob("*.json")) if root.is_dir() else []
    return root if files and image_beside(root, files[0].stem).is_file() else None


def read_boxes(folder: Path) -> Annotations:
    """The images of the files, with a box around each rectangle and polygon.

    Raises UserError, naming the file, where one is not labelme's.
    """
    found = [
        Annotated(image_beside(folder, file.stem), _marks(file)) for file in sorted(folder.glob("*.json"))
    ]
    used = (mark.name for image in found for mark in image.marks)
    return Annotations(found, class_names(folder, used))


def _marks(file: Path) -> list[Mark]:
    document = read_json(file)
    try:
        shapes = [shape for shape in document["shapes"] if shape.get("shape_type", "polygon") in _AREAS]
        return [_mark(shape) for shape in shapes if shape["label"] != _IGNORED]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{file} is not labelme's ({error}): see docs/validating.md.") from error


def _mark(shape: Any) -> Mark:
    columns, rows = zip(*((float(x), float(y)) for x, y in shape["points"]), strict=True)
    return Mark(str(shape["label"]), (min(columns), min(rows), max(columns), max(rows)))
