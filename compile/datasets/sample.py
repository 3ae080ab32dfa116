"""An image with what is known of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from compile.labels import class_index
from targets.errors import UserError


@dataclass(frozen=True)
class Sample:
    """An image file and its truth, None where that is not known.

    The truth is a class's index (images.py), a tuple of boxes (boxes.py) or a mask (masks.py).
    """

    path: Path
    truth: Any = None


@dataclass(frozen=True)
class Dataset:
    """Images to run. `names` are the network's classes where only the annotations name them.

    `unknown` counts annotations of classes that the network does not tell.
    """

    samples: Sequence[Sample]
    names: Sequence[str] | None = None
    unknown: Mapping[str, int] = field(default_factory=dict)


def index_of(label_set: str | None, names: Sequence[str]) -> Callable[[str], int | None]:
    """What turns a class's name into the network's index, or None where the network does not tell it.

    Without a label set the network's classes are `names`, in order.
    """
    own = {name: index for index, name in reversed(list(enumerate(names)))}

    def find(name: str) -> int | None:
        if label_set is None:
            return own.get(name)
        try:
            return class_index(label_set, name)
        except UserError:
            return None

    return find
