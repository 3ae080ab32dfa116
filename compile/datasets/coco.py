"""COCO's layout: one JSON file with images, categories and boxes, and folders of images beside it.

https://cocodataset.org/#format-data
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from compile.datasets.marks import Annotated, Annotations, Mark, read_json
from targets.errors import UserError

_NAMES = ("annotations.json", "instances*.json")


def find(root: Path) -> Path | None:
    """The annotation file: `root` itself, or the only one in it or its folder `annotations`."""
    if root.suffix == ".json":
        return root
    folders = (root, root / "annotations")
    files = sorted(file for folder in folders for name in _NAMES for file in folder.glob(name))
    if len(files) > 1:
        names = ", ".join(str(file.relative_to(root)) for file in files)
        raise UserError(f"{root} has several annotation files ({names}): give one with --data.")
    return files[0] if files else None


def read(file: Path) -> Annotations:
    """The images of the file in its order, and its categories by id; UserError where it is no such file."""
    document = read_json(file)
    try:
        categories = dict(sorted((row["id"], row["name"]) for row in document["categories"]))
        marks: dict[Any, list[Mark]] = defaultdict(list)
        for row in document["annotations"]:
            marks[row["image_id"]].append(_mark(row, categories))
        images = {row["id"]: row["file_name"] for row in document["images"]}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        reason = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        raise UserError(f"{file} is not in COCO's format ({reason}): see docs/validating.md.") from error
    if not images:
        raise UserError(f"{file} lists no images: see docs/validating.md.")
    folder = _image_folder(file, list(images.values()))
    found = [Annotated(folder / name, marks.get(key, [])) for key, name in images.items()]
    return Annotations(found, list(categories.values()))


def _mark(row: Mapping[str, Any], categories: Mapping[Any, str]) -> Mark:
    x, y, width, height = (float(value) for value in row["bbox"])
    return Mark(categories[row["category_id"]], (x, y, x + width, y + height), bool(row.get("iscrowd")))


def _image_folder(file: Path, names: Sequence[str]) -> Path:
    """The folder that `names` are relative to: of annotations/instances_val2017.json it is val2017/."""
    split = file.stem.rpartition("_")[2]
    bases = (file.parent, file.parent.parent) if file.parent.name == "annotations" else (file.parent,)
    parts = ("", "images", split, f"images/{split}", "JPEGImages")
    for place in (base / part for base in bases for part in parts):
        if any((place / name).is_file() for name in names):
            return place
    raise UserError(
        f"The images of {file} are not beside it: put {names[0]} and the others in images/ there."
    )
