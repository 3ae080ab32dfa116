"""Boxes from the deltas and logits of a detector's anchors: above a threshold, suppressed by class, sorted.

Logits are many and detections few, so all logits are looked at once, for the best class of each anchor.
Anchors with a class above the threshold wait in a heap, the best first. The first one's box is decoded and
compared with those found; then the anchor waits again, with its next class. So classes come one after the
other as if all had been sorted, and what follows the last detection is never sorted. To take the best of all
classes in turn gives what suppressing within each class, and sorting the rest, would.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import no_type_check

from tvm.script import tirx as T
from tvm.tirx import PrimFunc

from schedules.detection_steps import clipped, decode, is_inside, overlaps, seek, settle
from schedules.kernel import Workload, mark

KIND = "detections"


@dataclass(frozen=True)
class Rules:
    """What counts as a detection."""

    threshold: float
    """The logit that a class must exceed."""
    overlap: float
    """The intersection over union that two boxes of a class must not exceed."""
    most: int
    """Detections of an image."""
    scales: tuple[float, float]
    """What the deltas of a box's centre, and of its size, are divided by."""


def define(batch: int, anchors: int, classes: int, rules: Rules) -> PrimFunc:
    """Parameters, K = `rules.most`:

    - deltas float32 [batch, anchors, 4]: centre y, centre x, height, width
    - logits float32 [batch, anchors * (1 + classes)], of each anchor the background first
    - priors float32 [anchors, 4]: the anchors' boxes, in the order of deltas
    - boxes float32 [batch, K, 4] (x1, y1, x2, y2), clipped to 0..1; scores float32 [batch, K]; labels
      int32 [batch, K] from 0, without the background; count int32 [batch]: the rows that hold a detection,
      best first. The others are zero, with label -1
    - waiting int32 [anchors]: a workspace

    Of equal logits the lower anchor comes first, then the lower class. A box with no part inside the image is
    no detection; boxes overlap as they are before they are clipped.
    """
    width = 1 + classes
    threshold, overlap = T.float32(rules.threshold), T.float32(rules.overlap)
    by_centre, by_size = (T.float32(scale) for scale in rules.scales)
    most = rules.most

    @no_type_check
    @T.prim_func(s_tir=True)
    def kernel(
        deltas: T.Buffer((batch, anchors, 4), "float32"),
        logits: T.Buffer((batch, anchors * width), "float32"),
        priors: T.Buffer((anchors, 4), "float32"),
        boxes: T.Buffer((batch, most, 4), "float32"),
        scores: T.Buffer((batch, most), "float32"),
        labels: T.Buffer((batch, most), "int32"),
        count: T.Buffer((batch,), "int32"),
        waiting: T.Buffer((anchors,), "int32"),
    ):
        T.func_attr({"tirx.noalias": True})
        with T.sblock("root"):
            for image in range(batch):
                size: T.int32 = 0
                after = T.alloc_local((1,), "int32")
                for anchor in range(anchors):
                    seek(logits, image, anchor, width, T.infinity("float32"), -1, threshold, after)
                    waiting[size] = after[0]
                    size += T.cast(after[0] >= 0, "int32")
                for turn in range(T.truncdiv(size, 2)):
                    parent: T.int32 = T.truncdiv(size, 2) - 1 - turn
                    settle(logits, image, waiting, parent, waiting[parent], size)
                found: T.int32 = 0
                while size > 0 and found < most:
                    best: T.int32 = waiting[0]
                    value: T.float32 = logits[image, best]
                    seek(logits, image, T.truncdiv(best, width), width, value, best, threshold, after)
                    if after[0] < 0:
                        size -= 1
                        after[0] = waiting[size]
                    settle(logits, image, waiting, 0, after[0], size)
                    label: T.int32 = T.truncmod(best, width) - 1
                    decode(deltas, priors, image, T.truncdiv(best, width), boxes, found, by_centre, by_size)
                    is_new: T.bool = is_inside(boxes, image, found)
                    other: T.int32 = 0
                    while is_new and other < found:
                        if labels[image, other] == label:
                            is_new = not overlaps(boxes, image, found, other, overlap)
                        other += 1
                    if is_new:
                        scores[image, found] = T.float32(1) / (T.float32(1) + T.exp(-value))
                        labels[image, found] = label
                        found += 1
                count[image] = found
                for row in range(most):
                    if row >= found:
                        scores[image, row] = T.float32(0)
                        labels[image, row] = -1
                    for side in range(4):
                        inside: T.float32 = clipped(boxes[image, row, side])
                        boxes[image, row, side] = T.Select(row < found, inside, T.float32(0))

    shape = {"anchors": anchors, "classes": classes, "most": most}
    return mark(kernel.without_attr("global_symbol"), Workload(KIND, shape, 0))
