"""What the readers of annotation files give: images, and named boxes in them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from targets.errors import UserError


@dataclass(frozen=True)
class Mark:
    """A box: its class's name, and x1, y1, x2, y2 in pixels of the image."""

    name: str
    corners: tuple[float, float, float, float]
    ignored: bool = False


@dataclass(frozen=True)
class Annotated:
    """An image file and what is in it."""

    path: Path
    marks: Sequence[Mark]


@dataclass(frozen=True)
class Annotations:
    """Annotated images, and the names of all classes, in their order."""

    images: Sequence[Annotated]
    names: Sequence[str]


def read_json(path: Path) -> Any:
    """The document in a file; UserError, naming it, where it is none."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"Cannot read the annotations {path} ({error}): give a JSON file.") from error


def class_names(folder: Path, used: Iterable[str]) -> list[str]:
    """Those of labelme's `class_names.txt` or `labels.txt` in `folder`, else those `used`, sorted."""
    for name in ("class_names.txt", "labels.txt"):
        if (folder / name).is_file():
            lines = (folder / name).read_text(encoding="utf-8").splitlines()
            return [line.strip() for line in lines if line.strip() and line.strip() != "__ignore__"]
    return sorted(set(used))


def image_beside(folder: Path, stem: str, suffixes: Iterable[str] = (".jpg", ".jpeg", ".png")) -> Path:
    """The image of that stem in `folder`; a path that does not exist where there is none."""
    candidates = [folder / f"{stem}{suffix}" for suffix in suffixes]
    return next((path for path in candidates if path.is_file()), candidates[0])
