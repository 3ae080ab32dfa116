"""Classification: the likeliest classes, and how often the right one is among them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compile.datasets.images import find_images
from compile.datasets.sample import Dataset, Sample
from compile.placement import Placement
from compile.tasks.agreement import agreement, agreement_totals
from compile.tasks.task import Answer, Arrays, Record, Task, View, class_name

RANKS = 5
"""How many classes are told, best first."""


def find(root: Path, label_set: str | None) -> Dataset:
    """The images at `root`, the index of its class for truth where the layout tells."""
    return Dataset(find_images(root, label_set))


def compare(sample: Sample, _placement: Placement | None, reference: Arrays, device: Arrays) -> Record:
    """Passes where logits agree and both put the same class first."""
    found = agreement(reference, device)
    top5 = {"reference_top5": top_classes(reference[0]), "device_top5": top_classes(device[0])}
    same = top5["reference_top5"][0] == top5["device_top5"][0]
    return {"label": sample.truth, **top5, **found, "passed": found["passed"] and same}


def totals(compared: Sequence[tuple[Sample, Record]], _data: Dataset) -> Mapping[str, Any]:
    """Agreement, and how many labelled images have their label first, or among the first five."""
    records = [record for _, record in compared]
    labelled = [record for record in records if record["label"] is not None]
    return {
        "labelled": len(labelled),
        "top1_agreement": sum(r["reference_top5"][0] == r["device_top5"][0] for r in records),
        **agreement_totals(records),
        "top1": _correct(labelled, "device", 1),
        "top5": _correct(labelled, "device", RANKS),
        "reference_top1": _correct(labelled, "reference", 1),
        "reference_top5": _correct(labelled, "reference", RANKS),
    }


def _correct(labelled: Sequence[Record], side: str, first: int) -> int | None:
    """None where no input has a label."""
    right = [record["label"] in record[f"{side}_top5"][:first] for record in labelled]
    return sum(right) if right else None


def answer(outputs: Arrays, view: View) -> Answer:
    """The likeliest classes, and how likely the network finds each (softmax over all)."""
    logits = outputs[0]
    exponentials = np.exp(logits[0].astype(np.float64) - logits[0].max())
    probabilities = exponentials / exponentials.sum()
    rows = [
        {"label": index, "name": class_name(view.names, index), "probability": float(probabilities[index])}
        for index in top_classes(logits)
    ]
    return Answer({"classes": rows})


def top_classes(logits: NDArray[Any]) -> list[int]:
    """The classes with the largest logits of [1, classes], best first, at most RANKS of them."""
    return [int(index) for index in np.argsort(-logits[0], kind="stable")[:RANKS]]


CLASSIFY = Task("classify", {}, False, "crop", find, compare, totals, answer)
