"""What the user asked to compile, and the tensors of a network: plain values, which every stage may read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from compile.placement import Fit

Shape = tuple[int, ...]

InputFormat = Literal["float32-nchw", "uint8-nhwc"]
"""What an image is to the library: normalised numbers by channel, or pixels as a camera gives them."""

FLOATS: InputFormat = "float32-nchw"
FRAMES: InputFormat = "uint8-nhwc"

Artifact = Literal["bundle", "c-library", "both"]
"""What a network is compiled into: a folder that TVM's runtime in `run` loads, a plain C library, or both."""

Colour = tuple[float, float, float]
"""A value per channel, R, G, B, on the scale 0 to 1."""

THREADS = 4
"""The most that share a run of a C library, unless the user says otherwise: what clusters of cores have."""
MOST_THREADS = 64


@dataclass(frozen=True)
class Source:
    """What the user asked to compile: enough to trace the same network again."""

    model: str
    """A registered name, `package.module:callable`, or the path of a .pt2 file."""
    args: Mapping[str, str] = field(default_factory=dict)
    weights: str | None = None
    inputs: Mapping[str, Shape] = field(default_factory=dict)
    input_format: InputFormat = FLOATS
    labels: str | None = None
    """The label set of its classes, where that is not the network's own."""
    fit: Fit | None = None
    """How an image becomes its input, where that is not the network's own."""
    mean: Colour | None = None
    """What is taken from its pixels, where that is not the network's own; they are divided by `std` then."""
    std: Colour | None = None
    trust: bool = False
    """Whether its files may run code of their own when they are read: the user says so, and no manifest."""

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready description, which `from_json` takes back."""
        inputs = {name: list(shape) for name, shape in self.inputs.items()}
        return {
            "model": self.model,
            "args": dict(self.args),
            "weights": self.weights,
            "inputs": inputs,
            "input_format": self.input_format,
            "labels": self.labels,
            "fit": self.fit,
            "mean": self.mean and list(self.mean),
            "std": self.std and list(self.std),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Source:
        """The Source that `to_json` described."""
        inputs = {name: tuple(shape) for name, shape in data["inputs"].items()}
        return cls(
            data["model"],
            data["args"],
            data["weights"],
            inputs,
            data["input_format"],
            data["labels"],
            data["fit"],
            data["mean"] and tuple(data["mean"]),
            data["std"] and tuple(data["std"]),
        )


@dataclass(frozen=True)
class TensorInfo:
    """An input or output of a network: layout as the user has it (NCHW for images, or see InputFormat)."""

    name: str
    shape: Shape
    dtype: str


def random_inputs(inputs: Sequence[TensorInfo], count: int) -> list[tuple[NDArray[Any], ...]]:
    """`count` sets of inputs of these shapes and types, always the same, where no image can be had."""
    generator = np.random.default_rng(0)
    return [tuple(_random(generator, tensor) for tensor in inputs) for _ in range(count)]


def _random(generator: np.random.Generator, tensor: TensorInfo) -> NDArray[Any]:
    if tensor.dtype == "uint8":
        return generator.integers(0, 256, tensor.shape, np.uint8)
    return generator.standard_normal(tensor.shape).astype(tensor.dtype)


def spell(shape: Sequence[int]) -> str:
    """A shape as on the command line: 1x3x224x224."""
    return "x".join(map(str, shape))
