"""What there is to know of a task."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from PIL import Image

from compile.datasets.sample import Dataset, Sample
from compile.placement import Fit, Placement

Arrays = tuple[NDArray[Any], ...]
"""A network's outputs."""

Record = Mapping[str, Any]
"""What was found with one input, JSON-ready: `passed`, and what a task's totals need."""

SIDES = ("device", "reference")
"""Whose answers they are; PyTorch is the reference."""


@dataclass(frozen=True)
class View:
    """An image that was run: the picture, where it lies in the input, and what the outputs are called.

    `names` are the classes', None where they have none. Of boxes those are told that score `min_score`.
    """

    picture: Image.Image
    placement: Placement
    names: Sequence[str] | None
    outputs: Sequence[str]
    min_score: float = 0.0


@dataclass(frozen=True)
class Answer:
    """What a network says of an image: `document`, JSON-ready, and the picture with it drawn in."""

    document: Mapping[str, Any]
    drawing: Image.Image | None = None


@dataclass(frozen=True)
class Task:
    """What differs between tasks.

    A network that is not ours has this task if its outputs are a dict with the names `outputs`, of as many
    dimensions. `fit` is how an image becomes the input, unless the network says otherwise. Where the task
    `needs_image`, a network that does not take a single one is none of its.

    `compare` takes the sample, its place in the input (None where the input is no image), PyTorch's outputs
    and the device's; UserError where the truth cannot be read. `totals` takes what was compared, and the
    dataset.
    """

    name: str
    outputs: Mapping[str, int]
    needs_image: bool
    fit: Fit
    find: Callable[[Path, str | None], Dataset]
    compare: Callable[[Sample, Placement | None, Arrays, Arrays], Record]
    totals: Callable[[Sequence[tuple[Sample, Record]], Dataset], Mapping[str, Any]]
    answer: Callable[[Arrays, View], Answer]


def class_name(names: Sequence[str] | None, index: int) -> str:
    """The class's name, or its number where it has none."""
    return names[index] if names and 0 <= index < len(names) else f"class {index}"
