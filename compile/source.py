"""What the user asked to compile, and the tensors of a network: plain values, which every stage may read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Source:
    """What the user asked to compile: enough to trace the same network again."""

    model: str
    """A registered name, `package.module:callable`, or the path of a .pt2 file."""
    args: Mapping[str, str] = field(default_factory=dict)
    weights: str | None = None
    inputs: Mapping[str, Shape] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready description, which `from_json` takes back."""
        inputs = {name: list(shape) for name, shape in self.inputs.items()}
        return {"model": self.model, "args": dict(self.args), "weights": self.weights, "inputs": inputs}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Source:
        """The Source that `to_json` described."""
        inputs = {name: tuple(shape) for name, shape in data["inputs"].items()}
        return cls(data["model"], data["args"], data["weights"], inputs)


@dataclass(frozen=True)
class TensorInfo:
    """An input or output of a network: layout as the user has it (NCHW for images)."""

    name: str
    shape: Shape
    dtype: str


def random_inputs(inputs: Sequence[TensorInfo], count: int) -> list[tuple[NDArray[Any], ...]]:
    """`count` sets of inputs of these shapes and types, always the same, where no image can be had."""
    generator = np.random.default_rng(0)
    return [
        tuple(generator.standard_normal(tensor.shape).astype(tensor.dtype) for tensor in inputs)
        for _ in range(count)
    ]


def spell(shape: Sequence[int]) -> str:
    """A shape as on the command line: 1x3x224x224."""
    return "x".join(map(str, shape))
