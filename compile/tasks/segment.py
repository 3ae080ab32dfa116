"""Segmentation: class maps that are PyTorch's, and the intersection over union of each class."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compile.datasets.masks import VOID, find_masks
from compile.datasets.sample import Dataset, Sample
from compile.pictures import draw_classes
from compile.placement import Placement
from compile.tasks.agreement import agreement, agreement_totals
from compile.tasks.task import SIDES, Answer, Arrays, Record, Task, View, class_name

Counts = dict[str, list[int]]
"""By class: pixels that are it and are said to be, are said to be, are."""


def compare(sample: Sample, placement: Placement | None, reference: Arrays, device: Arrays) -> Record:
    """Passes where all but one pixel in a thousand of the class maps are equal.

    With a mask, pixels of the image are counted by class.
    """
    assert placement is not None
    record = agreement(reference, device)
    if sample.truth is None:
        return record
    width, height = placement.image
    truth = sample.truth.read(height, width)
    sides = {"reference": reference, "device": device}
    counts = {f"{side}_pixels": count(truth, placement.mask_to_image(sides[side][0][0])) for side in SIDES}
    return {**record, **counts}


def count(truth: NDArray[np.uint8], said: NDArray[Any]) -> Counts:
    """Counts of an image's pixels, without those that are VOID."""
    counted = truth != VOID
    truth, said = truth[counted], said[counted].astype(np.uint8)
    both, guessed, real = (
        np.bincount(values, minlength=VOID + 1) for values in (truth[truth == said], said, truth)
    )
    classes = np.nonzero(guessed + real)[0]
    return {str(index): [int(both[index]), int(guessed[index]), int(real[index])] for index in classes}


def intersection_over_union(counted: Sequence[Counts]) -> tuple[dict[int, float], float]:
    """Of each class that is, or is said to be, anywhere; and the part of all pixels that are right."""
    sums: dict[int, NDArray[np.int64]] = defaultdict(lambda: np.zeros(3, np.int64))
    for counts in counted:
        for index, values in counts.items():
            sums[int(index)] += values
    total = sum(int(real) for _, _, real in sums.values())
    right = sum(int(both) for both, _, _ in sums.values())
    by_class = {
        index: float(both / (guessed + real - both))
        for index, (both, guessed, real) in sorted(sums.items())
        if index != VOID  # what a crop left out is no class
    }
    return by_class, right / total if total else 0.0


def totals(compared: Sequence[tuple[Sample, Record]], data: Dataset) -> Mapping[str, Any]:
    """Agreement, and of the images with masks the mean intersection over union of both sides."""
    records = [record for _, record in compared]
    masked = [record for sample, record in compared if sample.truth is not None]
    found = {"labelled": len(masked), **agreement_totals(records)}
    for side, prefix in (("device", ""), ("reference", "reference_")):
        by_class, accuracy = intersection_over_union([record[f"{side}_pixels"] for record in masked])
        named = {class_name(data.names, index): value for index, value in by_class.items()}
        found[f"{prefix}miou"] = float(np.mean(list(named.values()))) if named else None
        found[f"{prefix}pixel_accuracy"] = accuracy if named else None
        found[f"{prefix}iou_by_class"] = named or None
    return found


def answer(outputs: Arrays, view: View) -> Answer:
    """The classes that are in the image, the largest first, and the image coloured by class."""
    classes = view.placement.mask_to_image(outputs[0][0])
    present, pixels = np.unique(classes, return_counts=True)
    rows: list[dict[str, Any]] = [
        {
            "label": int(label),
            "name": class_name(view.names, int(label)),
            "pixels": int(number),
            "share": float(number / classes.size),
        }
        for number, label in sorted(zip(pixels, present, strict=True), reverse=True)
    ]
    names = {row["label"]: row["name"] for row in rows}
    return Answer({"classes": rows}, draw_classes(view.picture, classes, names))


# DeepLab's authors evaluate whole images, padded with the mean.
SEGMENT = Task("segment", {"classes": 3}, True, "letterbox", find_masks, compare, totals, answer)
