"""An image's likeliest classes on a device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compile.bundle import Bundle
from compile.labels import labels
from targets.errors import UserError

RANKS = 5
"""How many classes are told, best first."""


@dataclass(frozen=True)
class Guess:
    """A class, and how likely the network finds it (softmax over all classes)."""

    label: int
    name: str
    probability: float


def classify(bundle: Bundle, device_spec: str, images: Sequence[Path]) -> list[list[Guess]]:
    """The five likeliest classes of each image, best first.

    Raises UserError when the network is no image classifier or an image cannot be read, DeviceError where
    the device fails.
    """
    steps = bundle.preprocess
    if bundle.manifest["task"] != "classify" or steps is None:
        raise UserError(
            f"{bundle.path} is not an image classifier: `armature validate` compares its outputs."
        )
    tensors = [steps.apply(image) for image in images]
    label_set = bundle.manifest["labels"]
    names = labels(label_set) if label_set else None
    with bundle.loaded_on(device_spec) as (_, program):
        return [_guesses(program.run(tensor)[0], names) for tensor in tensors]


def _guesses(logits: np.ndarray, names: Sequence[str] | None) -> list[Guess]:
    exponentials = np.exp(logits[0].astype(np.float64) - logits[0].max())
    probabilities = exponentials / exponentials.sum()
    return [
        Guess(index, names[index] if names else f"class {index}", float(probabilities[index]))
        for index in top_classes(logits)
    ]


def top_classes(logits: NDArray[Any]) -> list[int]:
    """The classes with the largest logits of [1, classes], best first, at most RANKS of them."""
    return [int(index) for index in np.argsort(-logits[0], kind="stable")[:RANKS]]
