"""From a detector's box deltas and logits to its detections: an operator of PyTorch's and of the board's.

What it means stands here, with PyTorch's implementation; the board's is schedules/detections.py. It is one
operator, since the shapes between its steps depend on the data.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

CENTRE_SCALE, SIZE_SCALE = 10.0, 5.0
"""What deltas are divided by: TensorFlow's FasterRcnnBoxCoder, as its SSD models are trained."""

OUTPUTS = ("boxes", "scores", "labels", "count")
"""What a network calls the detections that it returns."""

Detections = tuple[Tensor, Tensor, Tensor, Tensor]


@torch.library.custom_op("armature::detections", mutates_args=())
def detections(
    deltas: Tensor,
    logits: Tensor,
    anchors: Tensor,
    score_threshold: float,
    iou_threshold: float,
    max_detections: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Boxes whose class scores more than `score_threshold`, the best of those that overlap, best first.

    Takes, all float32: `deltas` [N, A, 4] of a box's centre (y, x) and the logarithm of its size (height,
    width), relative to its anchor and times the scales above; `logits` [N, A, 1 + classes], class 0 the
    background; `anchors` [A, 4] (centre y, x, height, width), as parts of the input.

    Returns, with K = `max_detections`: boxes float32 [N, K, 4] (x1, y1, x2, y2), cut off at 0 and 1; scores
    float32 [N, K], the sigmoid of the logits; labels int32 [N, K], from 0 without the background; count int32
    [N]. Rows from count on are zero, with label -1.

    Of two boxes of a class only the better one stays if their intersection over union, before they are cut
    off, is more than `iou_threshold`. Of equal logits the lower anchor's is better, then the lower class's. A
    box that lies outside the input is none.
    """
    threshold = logit(score_threshold)
    images = [
        _of_image(deltas[i], logits[i], anchors, threshold, iou_threshold, max_detections)
        for i in range(len(deltas))
    ]
    boxes, scores, labels, count = (torch.stack(parts) for parts in zip(*images, strict=True))
    return boxes, scores, labels, count


@detections.register_fake
def _shapes(deltas: Tensor, *others: Any) -> Detections:
    images, most = deltas.shape[0], others[-1]
    return (
        deltas.new_empty(images, most, 4),
        deltas.new_empty(images, most),
        deltas.new_empty(images, most, dtype=torch.int32),
        deltas.new_empty(images, dtype=torch.int32),
    )


def logit(score: float) -> float:
    """What has `score`, from 0 to below 1, for its sigmoid, in float32."""
    if score <= 0:
        return float(np.finfo(np.float32).min)
    return float(np.float32(math.log(score) - math.log1p(-score)))


def _of_image(
    deltas: Tensor, logits: Tensor, anchors: Tensor, threshold: float, iou_threshold: float, most: int
) -> Detections:
    """The same for one image, whose tensors lack the first axis."""
    classes = logits.shape[1] - 1
    found = (logits[:, 1:] > threshold).flatten().nonzero()[:, 0]
    values = logits[:, 1:].flatten()[found]
    order = values.argsort(descending=True, stable=True)
    values, anchor, label = values[order], found[order] // classes, found[order] % classes
    boxes = _decoded(deltas[anchor], anchors[anchor])
    inside = boxes.clamp(0, 1)
    kept = _kept(boxes, label, (inside[:, :2] < inside[:, 2:]).all(1), iou_threshold, most)

    def filled(rows: Tensor, empty: float) -> Tensor:
        rest = rows.new_full((most - len(kept), *rows.shape[1:]), empty)
        return torch.cat([rows[kept], rest])

    count = torch.tensor(len(kept), dtype=torch.int32)
    return filled(inside, 0), filled(values.sigmoid(), 0), filled(label.int(), -1), count


def _decoded(deltas: Tensor, anchors: Tensor) -> Tensor:
    """Boxes (x1, y1, x2, y2) [anchors, 4]."""
    centre = deltas[:, :2] / CENTRE_SCALE * anchors[:, 2:] + anchors[:, :2]
    half = torch.exp(deltas[:, 2:] / SIZE_SCALE) * anchors[:, 2:] / 2
    return torch.cat([(centre - half).flip(1), (centre + half).flip(1)], 1)


def _kept(boxes: Tensor, label: Tensor, alive: Tensor, iou_threshold: float, most: int) -> list[int]:
    """Which of the boxes, sorted, stay; those not `alive` never do."""
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    kept: list[int] = []
    while len(kept) < most and alive.any():
        best = int(alive.int().argmax())
        kept.append(best)
        low, high = torch.maximum(boxes[best, :2], boxes[:, :2]), torch.minimum(boxes[best, 2:], boxes[:, 2:])
        shared = (high - low).clamp(min=0).prod(1)
        overlaps = shared > iou_threshold * (areas[best] + areas - shared)
        alive = alive & ~(overlaps & (label == label[best]))
        alive[best] = False
    return kept
