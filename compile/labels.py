"""The class names a model's outputs stand for.

ImageNet's are in `imagenet_classes.tsv`, taken from timm 1.0.31 (Apache-2.0).
"""

from __future__ import annotations

from functools import cache
from importlib import resources

from targets.errors import UserError

_FILES = {"imagenet": "imagenet_classes.tsv", "person": "person_classes.tsv"}


def labels(label_set: str) -> tuple[str, ...]:
    """Names of the classes in the order of the model's outputs; UserError for an unknown set.

    Names are short (the first of a synset's words) and not always unique: ImageNet has two cranes.
    """
    return tuple(name for _, name in _classes(label_set))


def synsets(label_set: str) -> tuple[str, ...]:
    """WordNet synset ids (`n01440764`) of the classes, in the order of the model's outputs."""
    return tuple(synset for synset, _ in _classes(label_set))


def class_index(label_set: str, text: str) -> int:
    """The class that `text` names: an index, a synset id, or a name (case and `_` do not matter).

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
        f"a synset id such as {classes[0][0]}, or a name such as '{classes[0][1]}'."
    )


@cache
def _classes(label_set: str) -> tuple[tuple[str, str], ...]:
    """(synset id, short name) of each class."""
    if label_set not in _FILES:
        raise UserError(f"Unknown label set '{label_set}': known are {', '.join(_FILES)}.")
    text = resources.files("compile").joinpath(_FILES[label_set]).read_text(encoding="utf-8")
    rows = (line.split("\t") for line in text.splitlines() if not line.startswith("#"))
    return tuple((synset, name) for synset, name in rows)


def _plain(name: str) -> str:
    return name.replace("_", " ").strip().lower()
