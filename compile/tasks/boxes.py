"""Detections as arrays, and how far those of two networks overlap."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compile.tasks.task import Arrays


@dataclass(frozen=True)
class Boxes:
    """Boxes [n, 4] (x1, y1, x2, y2), the score of each [n] and the index of its class [n]."""

    corners: NDArray[np.float64]
    scores: NDArray[np.float64]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.scores)


@dataclass(frozen=True)
class Match:
    """What two sets of boxes have in common: `min_iou` and `max_score_error` are those of pairs.

    Without a pair they are 1 and 0.
    """

    pairs: int
    same_labels: bool
    min_iou: float
    max_score_error: float


def boxes_of(outputs: Arrays) -> Boxes:
    """A detector's, of its outputs: boxes [1, K, 4], scores [1, K], labels [1, K] and count [1]."""
    corners, scores, labels, count = (output[0] for output in outputs)
    found = min(max(int(count), 0), len(scores))
    return Boxes(
        corners[:found].astype(np.float64), scores[:found].astype(np.float64), labels[:found].astype(np.int64)
    )


def match(ours: Boxes, theirs: Boxes) -> Match:
    """Pair boxes off, those that overlap most first, and those of one class before others."""
    overlaps = iou(ours.corners, theirs.corners)
    preference = overlaps + (ours.labels[:, None] == theirs.labels[None, :])
    pairs = []
    for _ in range(min(len(ours), len(theirs))):
        one, other = np.unravel_index(int(preference.argmax()), preference.shape)
        pairs.append((int(one), int(other)))
        preference[one, :] = preference[:, other] = -1
    scores = [abs(ours.scores[one] - theirs.scores[other]) for one, other in pairs]
    return Match(
        pairs=len(pairs),
        same_labels=all(ours.labels[one] == theirs.labels[other] for one, other in pairs),
        min_iou=float(min((overlaps[pair] for pair in pairs), default=1.0)),
        max_score_error=float(np.nan_to_num(max(scores, default=0.0), nan=np.inf)),
    )


def iou(ours: NDArray[Any], theirs: NDArray[Any]) -> NDArray[np.float64]:
    """Intersection over union of boxes [n, 4] and [m, 4]: [n, m]; of no area it is 1 where they are equal."""
    one, other = ours[:, None, :].astype(np.float64), theirs[None, :, :].astype(np.float64)
    low, high = np.maximum(one[..., :2], other[..., :2]), np.minimum(one[..., 2:], other[..., 2:])
    shared = np.clip(high - low, 0, None).prod(-1)
    union = _area(one) + _area(other) - shared
    with np.errstate(invalid="ignore", divide="ignore"):
        overlaps = np.where(union > 0, shared / union, np.isclose(one, other, atol=1e-6).all(-1))
    return np.asarray(np.nan_to_num(overlaps, nan=0.0), np.float64)


def _area(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.clip(boxes[..., 2:] - boxes[..., :2], 0, None).prod(-1), np.float64)
