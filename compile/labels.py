"""The class names a model's outputs stand for: a set of ours, or a text file of the user's.

The files beside this one say where ours come from.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from pathlib import Path

from targets.errors import UserError

_FILES = {
    "imagenet": "imagenet_classes.tsv",
    "coco": "coco_classes.tsv",
    "voc": "voc_classes.tsv",
    "person": "person_classes.tsv",
}
"""A class a line, in the order of a network's outputs: its id, its name, and other names it has elsewhere."""


def label_sets() -> tuple[str, ...]:
    """The names of ours."""
    return tuple(_FILES)


def labels(label_set: str) -> tuple[str, ...]:
    """Names of the classes in the order of the model's outputs. `label_set` is one of ours, or the path of a
    file with a name, or an id, a tab and a name, a line; UserError where it is neither.

    Names are short (the first of a synset's words) and not always unique: ImageNet has two cranes.
    """
    return tuple(names[1] for names in _classes(label_set))


def synsets(label_set: str) -> tuple[str, ...]:
    """Ids of the classes (ImageNet's are WordNet's, `n01440764`) in the order of the model's outputs."""
    return tuple(names[0] for names in _classes(label_set))


def own_text(label_set: str | None) -> str | None:
    """The text of a user's file; None where the set is one of ours, or there is none."""
    return None if label_set is None or label_set in _FILES else _read(Path(label_set))


def class_index(label_set: str, text: str) -> int:
    """The class that `text` names: an index, an id, or a name (case and `_` do not matter).

    Raises UserError when there is no such class, or when two classes share the name.
    """
    classes = _classes(label_set)
    if text.isdecimal() and int(text) < len(classes):
        return int(text)
    wanted = _plain(text)
    found = [i for i, names in enumerate(classes) if wanted in map(_plain, names)]
    if len(found) == 1:
        return found[0]
    if found:
        ids = " or ".join(classes[i][0] for i in found)
        raise UserError(f"'{text}' names {len(found)} {label_set} classes: use {ids}.")
    raise UserError(
        f"'{text}' is not a class of {label_set}: give an index from 0 to {len(classes) - 1}, "
        f"an id such as {classes[0][0]}, or a name such as '{classes[0][1]}'."
    )


@cache
def _classes(label_set: str) -> tuple[tuple[str, ...], ...]:
    """(id, name, other names...) of each class."""
    if label_set in _FILES:
        text = resources.files("compile").joinpath(_FILES[label_set]).read_text(encoding="utf-8")
    else:
        text = _read(Path(label_set))
    rows = [line.split("\t") for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return tuple((row[0], *(row[1:] or row)) for row in rows)


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        known = ", ".join(_FILES)
        raise UserError(
            f"There are no labels '{file}': give one of {known}, or a text file with a name a line."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"Cannot read labels from {file}: {error}.") from error


def _plain(name: str) -> str:
    return name.replace("_", " ").strip().lower()
