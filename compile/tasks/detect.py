"""Detection: boxes that are PyTorch's, and COCO's average precision where the truth is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from compile.datasets.boxes import find_boxes
from compile.datasets.sample import Dataset, Sample
from compile.pictures import Drawn, draw_boxes
from compile.placement import Placement
from compile.tasks.agreement import TOLERANCE
from compile.tasks.average_precision import average_precision
from compile.tasks.boxes import Boxes, boxes_of, match
from compile.tasks.task import SIDES, Answer, Arrays, Record, Task, View, class_name

MIN_IOU = 0.99
"""What PyTorch's box and the device's must overlap by more than."""

_PIXEL_DIGITS, _SCORE_DIGITS = 3, 6


def compare(_sample: Sample, placement: Placement | None, reference: Arrays, device: Arrays) -> Record:
    """Passes where there are as many boxes, in pairs that overlap, of equal class and nearly equal score.

    Boxes in the record are those of the image, in pixels: x1, y1, x2, y2, score, class.
    """
    assert placement is not None
    ours, theirs = boxes_of(reference), boxes_of(device)
    found = match(ours, theirs)
    same_count = len(ours) == len(theirs)
    close = found.min_iou > MIN_IOU and found.max_score_error <= TOLERANCE
    return {
        "reference_boxes": _rows(ours, placement),
        "device_boxes": _rows(theirs, placement),
        "same_count": same_count,
        "same_labels": found.same_labels,
        "min_iou": found.min_iou,
        "max_score_error": found.max_score_error,
        "passed": same_count and found.same_labels and close,
    }


def _rows(boxes: Boxes, placement: Placement) -> list[list[float]]:
    corners = placement.to_image(boxes.corners).round(_PIXEL_DIGITS)
    scores = boxes.scores.round(_SCORE_DIGITS)
    return [
        [*map(float, row), float(score), int(label)]
        for row, score, label in zip(corners, scores, boxes.labels, strict=True)
    ]


def totals(compared: Sequence[tuple[Sample, Record]], data: Dataset) -> Mapping[str, Any]:
    """Agreement, and of the images whose boxes are known the average precision of both sides."""
    records = [record for _, record in compared]
    known = [(sample.truth, record) for sample, record in compared if sample.truth is not None]
    truth = [boxes for boxes, _ in known]
    precision: dict[str, Any] = {
        side: average_precision(truth, [record[f"{side}_boxes"] for _, record in known]) if known else None
        for side in SIDES
    }
    return {
        "labelled": len(known),
        "boxes": sum(len(record["device_boxes"]) for record in records),
        "reference_boxes": sum(len(record["reference_boxes"]) for record in records),
        "same_count": sum(record["same_count"] for record in records),
        "same_labels": sum(record["same_labels"] for record in records),
        "min_iou": min(record["min_iou"] for record in records),
        "max_score_error": max(record["max_score_error"] for record in records),
        **_spread("", precision["device"], data),
        **_spread("reference_", precision["reference"], data),
    }


def _spread(prefix: str, precision: Mapping[str, Any] | None, data: Dataset) -> dict[str, Any]:
    if precision is None:
        return {f"{prefix}{key}": None for key in ("ap", "ap50", "ap_by_class")}
    named = {class_name(data.names, label): value for label, value in precision["ap_by_class"].items()}
    return {f"{prefix}{key}": value for key, value in {**precision, "ap_by_class": named}.items()}


def answer(outputs: Arrays, view: View) -> Answer:
    """The boxes in pixels of the image, best first, and the image with them."""
    rows: list[dict[str, Any]] = [
        {"label": int(label), "name": class_name(view.names, int(label)), "score": score, "box": corners}
        for *corners, score, label in _rows(boxes_of(outputs), view.placement)
        if score >= view.min_score
    ]
    drawn = [Drawn(row["box"], f"{row['name']} {row['score']:.2f}", row["label"]) for row in rows]
    return Answer({"detections": rows}, draw_boxes(view.picture, drawn))


OUTPUTS = {"boxes": 3, "scores": 2, "labels": 2, "count": 1}
DETECT = Task("detect", OUTPUTS, True, "letterbox", find_boxes, compare, totals, answer)
