"""labelme's own layout: a JSON file of shapes beside each image.

https://github.com/wkentaro/labelme, labelme/_label_file.py
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compile.datasets.marks import Annotated, Annotations, Mark, class_names, image_beside, read_json
from targets.errors import UserError

BACKGROUND = "_background_"
IGNORED = "__ignore__"

_AREAS = ("rectangle", "polygon")


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


@dataclass(frozen=True)
class Shape:
    """An area of an image: its class's name, and its corners (x, y) in pixels; of a rectangle two."""

    name: str
    kind: str
    points: Sequence[tuple[float, float]]


def read_shapes(file: Path) -> list[Shape]:
    """The rectangles and polygons of a file, the last on top; UserError where it is not labelme's."""
    document = read_json(file)
    try:
        shapes = [_shape(row) for row in document["shapes"]]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{file} is not labelme's ({error}): see docs/validating.md.") from error
    return [shape for shape in shapes if shape.kind in _AREAS and len(shape.points) > 1]


def _shape(row: Any) -> Shape:
    points = [(float(x), float(y)) for x, y in row["points"]]
    return Shape(str(row["label"]), str(row.get("shape_type", "polygon")), points)


def _marks(file: Path) -> list[Mark]:
    return [_mark(shape) for shape in read_shapes(file) if shape.name != IGNORED]


def _mark(shape: Shape) -> Mark:
    columns, rows = zip(*shape.points, strict=True)
    return Mark(shape.name, (min(columns), min(rows), max(columns), max(rows)))
