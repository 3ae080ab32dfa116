"""COCO's average precision, by pycocotools."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from compile.datasets.boxes import Box

Detection = Sequence[float]
"""x1, y1, x2, y2 in pixels of the image, score, class."""


def average_precision(
    truth: Sequence[Sequence[Box]], found: Sequence[Sequence[Detection]]
) -> dict[str, Any] | None:
    """`ap` (mean over IoU 0.50 to 0.95), `ap50`, and `ap_by_class` {class: ap}, each from 0 to 1.

    Takes the boxes that are in each image and those found in it, best 100 of which count. A box that is
    ignored, as COCO's crowds are, may be found any number of times. None where there is no box to find.
    """
    wanted = [
        {**_row(image, box.corners, box.label), "iscrowd": int(box.ignored)}
        for image, boxes in enumerate(truth)
        for box in boxes
    ]
    if all(row["iscrowd"] for row in wanted):
        return None
    guesses = [
        {**_row(image, (x1, y1, x2, y2), int(label)), "score": score, "iscrowd": 0}
        for image, detections in enumerate(found)
        for x1, y1, x2, y2, score, label in detections
    ]
    classes = sorted({row["category_id"] for row in (*wanted, *guesses)})
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints
        evaluation = COCOeval(_coco(wanted, len(truth), classes), _coco(guesses, len(truth), classes), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    # [IoU, recall, class, area, most detections]; -1 where there is nothing to find.
    precision = evaluation.eval["precision"][:, :, :, 0, -1]
    by_class = {
        label: float(np.mean(precision[:, :, at]))
        for at, label in enumerate(classes)
        if (precision[:, :, at] > -1).all()
    }
    return {"ap": float(evaluation.stats[0]), "ap50": float(evaluation.stats[1]), "ap_by_class": by_class}


def _row(image: int, corners: Sequence[float], label: int) -> dict[str, Any]:
    x1, y1, x2, y2 = corners
    width, height = x2 - x1, y2 - y1
    return {
        "image_id": image,
        "category_id": label,
        "bbox": [x1, y1, width, height],
        "area": width * height,
    }


def _coco(rows: Sequence[Mapping[str, Any]], images: int, classes: Sequence[int]) -> COCO:
    """Boxes as pycocotools wants them; it takes 0 for no id."""
    made = COCO()
    made.dataset = {
        "images": [{"id": image} for image in range(images)],
        "categories": [{"id": label} for label in classes],
        "annotations": [{"id": number, **row} for number, row in enumerate(rows, 1)],
    }
    made.createIndex()
    return made
