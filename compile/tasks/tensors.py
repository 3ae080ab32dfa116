"""Outputs that mean nothing to us: numbers are near, whole numbers are equal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from compile.datasets.images import find_images
from compile.datasets.sample import Dataset, Sample
from compile.placement import Placement
from compile.tasks.agreement import agreement, agreement_totals
from compile.tasks.task import Answer, Arrays, Record, Task, View


def find(root: Path, label_set: str | None) -> Dataset:
    """The images at `root`; what they show has no bearing."""
    return Dataset([Sample(sample.path) for sample in find_images(root, label_set)])


def compare(_sample: Sample, _placement: Placement | None, reference: Arrays, device: Arrays) -> Record:
    """The agreement of the outputs."""
    return agreement(reference, device)


def totals(compared: Sequence[tuple[Sample, Record]], _data: Dataset) -> Mapping[str, Any]:
    """The worst agreement."""
    return agreement_totals([record for _, record in compared])


def answer(outputs: Arrays, view: View) -> Answer:
    """Of each output its shape, and the least, the mean and the largest of its values."""
    rows = [
        {
            "name": name,
            "shape": list(values.shape),
            "dtype": str(values.dtype),
            "min": float(values.min()),
            "mean": float(values.mean()),
            "max": float(values.max()),
        }
        for name, values in zip(view.outputs, outputs, strict=True)
    ]
    return Answer({"outputs": rows})


TENSORS = Task("tensors", {}, False, "crop", find, compare, totals, answer)
