"""The proof: the same inputs through PyTorch and through the device, and what differs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compile.bundle import Bundle
from compile.classify import RANKS, top_classes
from compile.datasets import Sample, default_images, find_images
from compile.frontend import Traced, trace
from compile.preprocess import Preprocess
from compile.source import random_inputs
from targets.errors import UserError

TOLERANCE = 1e-3
"""Largest allowed difference, as a part of the outputs' scale (the largest of PyTorch's for that input)."""

AGREEMENT = 0.999
"""Least part of whole numbers (the pixels of a class map) that must be equal: between two classes that are
nearly as likely, the order of additions decides.
"""

RANDOM_INPUTS = 8

Arrays = tuple[NDArray[Any], ...]


@dataclass(frozen=True)
class Comparison:
    """One input's outputs on PyTorch and on the device.

    Classes are None where the network tells none apart.
    """

    input: str
    label: int | None
    reference_top5: list[int] | None
    device_top5: list[int] | None
    max_abs_error: float
    """Of the outputs that are no whole numbers."""
    scale: float
    """The largest absolute value of PyTorch's, of these."""
    agreement: float | None
    """The part of whole numbers that are equal, where it is least; None where there are no such outputs."""

    @property
    def same_top1(self) -> bool:
        """Whether both put the same class first."""
        if self.reference_top5 is None or self.device_top5 is None:
            return True
        return self.reference_top5[0] == self.device_top5[0]

    @property
    def passed(self) -> bool:
        """Within TOLERANCE, with the same class first, and AGREEMENT of whole numbers."""
        agrees = self.agreement is None or self.agreement >= AGREEMENT
        return self.max_abs_error <= TOLERANCE * self.scale and self.same_top1 and agrees


@dataclass(frozen=True)
class Report:
    """What a validation found."""

    device: str
    core: str
    comparisons: list[Comparison]

    @property
    def passed(self) -> bool:
        """Whether every input passed."""
        return all(comparison.passed for comparison in self.comparisons)

    @property
    def same_top1(self) -> int:
        """Inputs for which both put the same class first."""
        return sum(comparison.same_top1 for comparison in self.comparisons)

    @property
    def labelled(self) -> int:
        """Inputs whose class is known, of a network that tells classes apart."""
        return sum(c.label is not None and c.device_top5 is not None for c in self.comparisons)

    @property
    def max_abs_error(self) -> float:
        """The largest difference between any two outputs."""
        return max(comparison.max_abs_error for comparison in self.comparisons)

    @property
    def agreement(self) -> float | None:
        """The least agreement of whole numbers."""
        return min((c.agreement for c in self.comparisons if c.agreement is not None), default=None)

    def correct(self, side: str, first: int) -> int | None:
        """Labelled inputs whose label is among the `first` classes of `side` ("reference" or "device").

        None where no input has a label.
        """
        ranked = [(c.label, getattr(c, f"{side}_top5")) for c in self.comparisons if c.label is not None]
        ranked = [(label, top5) for label, top5 in ranked if top5 is not None]
        return sum(label in top5[:first] for label, top5 in ranked) if ranked else None

    def to_json(self) -> dict[str, Any]:
        """The report, JSON-ready. `top1` and `top5` count the device's correct answers."""
        return {
            "images": len(self.comparisons),
            "labelled": self.labelled,
            "top1_agreement": self.same_top1,
            "max_abs_error": self.max_abs_error,
            "tolerance": TOLERANCE,
            "agreement": self.agreement,
            "top1": self.correct("device", 1),
            "top5": self.correct("device", RANKS),
            "reference_top1": self.correct("reference", 1),
            "reference_top5": self.correct("reference", RANKS),
            "passed": self.passed,
            "device": self.device,
            "core": self.core,
            "inputs": [{**asdict(c), "passed": c.passed} for c in self.comparisons],
        }


def validate(
    bundle: Bundle,
    device_spec: str,
    data: Path | None = None,
    limit: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Run the same inputs through PyTorch and the device, at most `limit` of them.

    They are the images at `data` (a file or folder), else the labelled ones that are installed, or random
    tensors where the network takes no image. `progress` is told (done, total). Raises UserError for what
    cannot be used, DeviceError where the device fails.
    """
    traced = retrace(bundle)
    inputs = _inputs(traced, data)[:limit]
    report_progress = progress or (lambda *_: None)
    comparisons = []
    with bundle.loaded_on(device_spec) as (device, program):
        for done, (sample, read) in enumerate(inputs):
            report_progress(done, len(inputs))
            arrays = read()
            reference = traced.reference(*arrays)
            comparisons.append(_compare(traced.task, sample, reference, program.run(*arrays)))
        report_progress(len(inputs), len(inputs))
        return Report(device.spec, bundle.core, comparisons)


def retrace(bundle: Bundle) -> Traced:
    """The network that the bundle was compiled from, traced again from its source.

    Raises UserError when its source is gone, or now has other weights.
    """
    traced = trace(bundle.source)
    if traced.fingerprint() != bundle.manifest["weights"]["sha256"]:
        raise UserError(
            f"{bundle.source.model} has other weights now than {bundle.path} was compiled with: "
            "compile it again."
        )
    return traced


def _inputs(traced: Traced, data: Path | None) -> list[tuple[Sample, Callable[[], Arrays]]]:
    """What to run, and how to read each when its turn comes."""
    steps = traced.preprocess
    if steps is None:
        if data is not None:
            raise UserError(f"{traced.name} takes no image, so --data does not apply.")
        drawn = random_inputs(traced.inputs, RANDOM_INPUTS)
        return [(Sample(Path(f"random {i}"), None), partial(tuple, arrays)) for i, arrays in enumerate(drawn)]
    folder = data or default_images("classify")
    samples = find_images(folder, traced.labels) if folder else []
    if traced.labels is None and data is None:
        samples = [Sample(sample.path, None) for sample in samples]  # their classes are not this network's
    return [(sample, partial(_read_image, steps, sample.path)) for sample in samples]


def _read_image(steps: Preprocess, path: Path) -> Arrays:
    return (steps.apply(path),)


def _compare(task: str, sample: Sample, reference: Arrays, device: Arrays) -> Comparison:
    ranks = task == "classify"
    pairs = list(zip(reference, device, strict=True))
    numbers = [pair for pair in pairs if pair[0].dtype.kind not in _WHOLE]
    whole = [pair for pair in pairs if pair[0].dtype.kind in _WHOLE]
    return Comparison(
        input=sample.path.name,
        label=sample.label,
        reference_top5=top_classes(reference[0]) if ranks else None,
        device_top5=top_classes(device[0]) if ranks else None,
        max_abs_error=max((_difference(*pair) for pair in numbers), default=0.0),
        scale=max((float(np.abs(ours).max()) for ours, _ in numbers), default=0.0),
        agreement=min((_agreement(*pair) for pair in whole), default=None),
    )


_WHOLE = "iub"
"""Kinds of dtype."""


def _difference(reference: NDArray[Any], device: NDArray[Any]) -> float:
    """The largest absolute difference; infinite where a value is not a number or the shapes differ."""
    if reference.shape != device.shape or not np.isfinite(device).all():
        return float("inf")
    return float(np.abs(reference - device).max())


def _agreement(reference: NDArray[Any], device: NDArray[Any]) -> float:
    """The part of elements that are equal; none where the shapes differ."""
    return float((reference == device).mean()) if reference.shape == device.shape else 0.0
