"""What a kernel is to a schedule: its kind, its shape, and how it is written before it is scheduled.

A kernel is a fused TIR function whose one *anchor* block does the work (a sum of products, a window
reduction); the blocks after it are its epilogue. Lowering writes the anchor with `anchor()`, so that its
kind and shape travel with the function through fusion, tuning records and replay.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tvm import te
from tvm.s_tir import Schedule
from tvm.tirx import PrimFunc

ANNOTATION = "armature.workload"
LANES = 4
"""float32 elements of a 128-bit vector register (Arm ARM, C1.2.5)."""

CHANNEL_MULTIPLE = 8
"""Sums run over output channels rounded up to this, so that every step is a whole number of vectors."""

Decisions = Mapping[str, int]
"""A point of a kind's space: the value of each of its named decisions."""


@dataclass(frozen=True)
class Workload:
    """A kernel with its shape: what a schedule is chosen for."""

    kind: str
    shape: Mapping[str, int]
    """Named extents, in the order in which they are read aloud; see the kind's module for their names."""
    multiply_adds: int
    details: Mapping[str, int] = field(default_factory=dict)
    """What else a schedule must know, and nobody reads aloud: the image's size, its padding."""
    description: str = ""
    """The kernel as its kind spells it, where numbers do not say enough."""

    def __getitem__(self, name: str) -> int:
        return self.shape[name]

    def __str__(self) -> str:
        return "x".join(str(extent) for extent in self.shape.values())

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready description, which `from_json` takes back."""
        return {
            "kind": self.kind,
            "shape": _spelled(self.shape),
            "multiply_adds": self.multiply_adds,
            "details": _spelled(self.details),
            "description": self.description,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Workload:
        """The workload that `to_json` described."""
        return cls(
            str(data["kind"]),
            _read(data["shape"]),
            int(data["multiply_adds"]),
            _read(data["details"]),
            str(data["description"]),
        )


def anchor(
    kind: str,
    extents: tuple[int, ...],
    body: Callable[..., object],
    shape: Mapping[str, int],
    multiply_adds: int,
    details: Mapping[str, int] | None = None,
) -> te.Tensor:
    """The anchor block of a kernel of `kind`: `te.compute(extents, body)`, marked with its workload.

    `shape` is the workload's; `multiply_adds` counts one inference's multiply-adds (0 where the kernel
    only reduces).
    """
    mark = Workload(kind, shape, multiply_adds, details or {}).to_json()
    return te.compute(extents, body, name=kind, attrs={ANNOTATION: mark})


def mark(function: PrimFunc, workload: Workload) -> PrimFunc:
    """A kernel whose workload is not one block's, marked with it before it is scheduled."""
    return function.with_attr(ANNOTATION, workload.to_json())


def workload_of(schedule: Schedule) -> Workload | None:
    """The workload of a kernel marked by `anchor()` or `mark()`, not scheduled yet; None for any other."""
    found = [schedule.mod["main"].attrs.get(ANNOTATION)]
    blocks = schedule.get_child_blocks(schedule.get_sblock("root"))
    found += [schedule.get(block).annotations.get(ANNOTATION) for block in blocks]
    return next((Workload.from_json(each) for each in found if each is not None), None)


def _spelled(numbers: Mapping[str, int]) -> str:
    return " ".join(f"{name}={number}" for name, number in numbers.items())


def _read(spelled: object) -> dict[str, int]:
    pairs = (pair.split("=") for pair in str(spelled).split())
    return {name: int(number) for name, number in pairs}


def round_up(value: int, multiple: int) -> int:
    """The smallest multiple of `multiple` that is not below `value`."""
    return -(-value // multiple) * multiple
