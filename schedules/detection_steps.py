"""The steps of the kernel that finds detections (schedules/detections.py), put in where they are called."""

from __future__ import annotations

from typing import no_type_check

from tvm import ir, tirx
from tvm.script import tirx as T


def is_before(ours: ir.Expr, one: ir.Expr, theirs: ir.Expr, other: ir.Expr) -> ir.Expr:
    """Whether the logit `ours`, at `one`, is better than `theirs` at `other`."""
    return tirx.any(ours > theirs, tirx.all(ours == theirs, one < other))


def is_inside(boxes: tirx.Var, image: ir.Expr, row: ir.Expr) -> ir.Expr:
    """Whether a part of a box is."""
    x1, y1, x2, y2 = (clipped(boxes[image, row, side]) for side in range(4))
    return tirx.all(x1 < x2, y1 < y2)


def clipped(value: ir.Expr) -> ir.Expr:
    return tirx.max(tirx.min(value, T.float32(1)), T.float32(0))


def overlaps(boxes: tirx.Var, image: ir.Expr, one: ir.Expr, other: ir.Expr, most: ir.Expr) -> ir.Expr:
    """Whether the intersection of two boxes is larger than `most` of their union."""
    ours, theirs = ([boxes[image, row, side] for side in range(4)] for row in (one, other))
    sides = [
        tirx.max(tirx.min(ours[2 + axis], theirs[2 + axis]) - tirx.max(ours[axis], theirs[axis]), 0.0)
        for axis in (0, 1)
    ]
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (ours, theirs)]
    shared = sides[0] * sides[1]
    return shared > most * (areas[0] + areas[1] - shared)


@no_type_check
@T.inline
def seek(logits, image, anchor, width, value, index, threshold, found):
    """Into `found[0]`: the best of an anchor's classes that comes after `value` at `index`, -1 if none does.

    The background, the anchor's first, is none of them; neither is what does not exceed `threshold`.
    """
    best: T.float32 = threshold
    found[0] = -1
    for label in range(width - 1):
        at: T.int32 = anchor * width + 1 + label
        # Two questions: of `and` TVM does not promise that the second is asked only where it has to be.
        if logits[image, at] > best:  # noqa: SIM102
            if is_before(value, index, logits[image, at], at):
                best = logits[image, at]
                found[0] = at


@no_type_check
@T.inline
def settle(logits, image, waiting, start, index, size):
    """Put `index` where it belongs in a heap of `size`, the best first: at `start`, or below."""
    moved: T.int32 = index
    hole: T.int32 = start
    child: T.int32 = 2 * hole + 1
    while child < size:
        better: T.int32 = waiting[child]
        if child + 1 < size:
            other: T.int32 = waiting[child + 1]
            if is_before(logits[image, other], other, logits[image, better], better):
                child += 1
                better = other
        if is_before(logits[image, better], better, logits[image, moved], moved):
            waiting[hole] = better
            hole = child
            child = 2 * hole + 1
        else:
            child = size
    waiting[hole] = moved


@no_type_check
@T.inline
def decode(deltas, priors, image, anchor, boxes, row, by_centre, by_size):
    """The box of an anchor, not clipped, into a row of `boxes`."""
    for axis in range(2):
        size: T.float32 = priors[anchor, 2 + axis]
        centre: T.float32 = deltas[image, anchor, axis] / by_centre * size + priors[anchor, axis]
        half: T.float32 = T.exp(deltas[image, anchor, 2 + axis] / by_size) * size / T.float32(2)
        boxes[image, row, 1 - axis] = centre - half
        boxes[image, row, 3 - axis] = centre + half
