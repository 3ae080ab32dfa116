"""The proof: the same inputs through PyTorch and through the device, and what differs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from compile.bundle import Bundle
from compile.datasets import Dataset, Sample, default_images
from compile.frontend import Traced, trace
from compile.journal import Journal, open_journal
from compile.own_sources import require_own
from compile.placement import Placement
from compile.preprocess import Preprocess, open_image
from compile.source import random_inputs
from compile.tasks import TASKS
from compile.tasks.task import Arrays, Record
from targets.device import Program
from targets.errors import UserError

RANDOM_INPUTS = 8

_DEFAULT_LABELS = "imagenet"
"""The label set of the images that are installed."""

Read = Callable[[Sample], tuple[Arrays, Placement | None]]


@dataclass(frozen=True)
class Report:
    """What a validation found."""

    task: str
    device: str
    core: str
    records: Mapping[str, Record]
    """By the input's name."""
    failures: Mapping[str, str]
    """Why an input could not be compared, by its name."""
    totals: Mapping[str, Any]
    """As the task has them (compile/tasks)."""
    unknown: Mapping[str, int]
    """How many annotations are of a class that the network does not tell, by its name."""
    resumed: int
    """Inputs whose results were at hand."""

    @property
    def passed(self) -> bool:
        """Whether every input passed that could be compared."""
        return all(record["passed"] for record in self.records.values())

    def to_json(self) -> dict[str, Any]:
        """The report, JSON-ready."""
        return {
            "task": self.task,
            "images": len(self.records),
            **self.totals,
            "passed": self.passed,
            "device": self.device,
            "core": self.core,
            "resumed": self.resumed,
            "failures": [{"input": name, "reason": reason} for name, reason in self.failures.items()],
            "unknown_classes": dict(self.unknown),
            "inputs": [{"input": name, **record} for name, record in self.records.items()],
        }


def validate(
    bundle: Bundle,
    device_spec: str,
    data: Path | None = None,
    limit: int | None = None,
    resume: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
    trust: bool = False,
) -> Report:
    """Run the same inputs through PyTorch and the device, at most `limit` of them.

    They are the images at `data` (a file or folder), else the labelled ones that are installed, or random
    tensors where the network takes no image. Results are kept in the file `resume`, and those that it has are
    not computed again. `progress` is told (done, total), `trust` is as `retrace` takes it. An image that
    cannot be read is among the report's failures. Raises UserError for what cannot be used or where no image
    can be read, DeviceError where the device fails.
    """
    traced = retrace(bundle, trust)
    found, read = _inputs(traced, data)
    samples = _named(found.samples[:limit], data)
    with bundle.loaded_on(device_spec) as (device, program):
        subject = {
            "bundle": bundle.manifest["files"][bundle.library.name],
            "device": device.spec,
            "data": str(data.resolve()) if data else None,
            "annotations": sum(sample.truth is not None for sample in found.samples),
        }
        with open_journal(resume, subject) as journal:
            resumed = sum(name in journal.done for name in samples)
            compare = partial(_compare, traced, read, program)
            failures = _run(samples, compare, journal, progress or (lambda *_: None))
    records = {name: journal.done[name] for name in samples if name in journal.done}
    if not records:
        raise UserError(next(iter(failures.values())))
    totals = TASKS[traced.task].totals([(samples[name], record) for name, record in records.items()], found)
    return Report(traced.task, device.spec, bundle.core, records, failures, totals, found.unknown, resumed)


def retrace(bundle: Bundle, trust: bool = False) -> Traced:
    """The network that the bundle was compiled from, traced again from its source.

    A bundle may be from elsewhere: without `trust`, code that its manifest names is run only where this user
    has compiled from it. Raises UserError when it is not to be run, is gone, or now has other weights.
    """
    source = replace(bundle.source, trust=trust)
    require_own(source)
    traced = trace(source)
    if traced.fingerprint() != bundle.manifest["weights"]["sha256"]:
        raise UserError(
            f"{bundle.source.model} has other weights now than {bundle.path} was compiled with: "
            "compile it again."
        )
    return traced


def _run(
    samples: Mapping[str, Sample],
    compare: Callable[[Sample], Record],
    journal: Journal,
    progress: Callable[[int, int], None],
) -> dict[str, str]:
    """Compare what the journal lacks; gives why, for those that cannot be."""
    failures = {}
    for done, (name, sample) in enumerate(samples.items()):
        progress(done, len(samples))
        if name not in journal.done:
            try:
                journal.add(name, compare(sample))
            except UserError as error:
                failures[name] = str(error)
    progress(len(samples), len(samples))
    return failures


def _compare(traced: Traced, read: Read, program: Program, sample: Sample) -> Record:
    arrays, placement = read(sample)
    reference = traced.reference(*arrays)
    return TASKS[traced.task].compare(sample, placement, reference, program.run(*arrays))


def _inputs(traced: Traced, data: Path | None) -> tuple[Dataset, Read]:
    """What to run, and how to read each when its turn comes."""
    steps = traced.preprocess
    if steps is None:
        if data is not None:
            raise UserError(f"{traced.name} takes no image, so --data does not apply.")
        drawn = {
            Path(f"random {i}"): arrays
            for i, arrays in enumerate(random_inputs(traced.inputs, RANDOM_INPUTS))
        }
        return Dataset([Sample(path) for path in drawn]), lambda sample: (drawn[sample.path], None)
    read = partial(_read_image, steps)
    if data is not None:
        return TASKS[traced.task].find(data, traced.labels), read
    installed = default_images("classify")
    assert installed is not None
    found = TASKS["classify"].find(installed, _DEFAULT_LABELS)
    if traced.task == "classify" and traced.labels == _DEFAULT_LABELS:
        return found, read
    return Dataset(
        [Sample(sample.path) for sample in found.samples]
    ), read  # other classes than the network's


def _named(samples: Sequence[Sample], data: Path | None) -> dict[str, Sample]:
    """The samples by their paths in `data`; those that are not in that folder by their whole paths."""
    if data is None:
        return {sample.path.name: sample for sample in samples}
    root = data if data.is_dir() else data.parent
    paths = [sample.path for sample in samples]
    names = [path.relative_to(root) if path.is_relative_to(root) else path for path in paths]
    return {str(name): sample for name, sample in zip(names, samples, strict=True)}


def _read_image(steps: Preprocess, sample: Sample) -> tuple[Arrays, Placement]:
    picture = open_image(sample.path)
    return (steps.apply(picture),), steps.place(*picture.size)
