"""The boxes that SSD's predictions are relative to: those of the authors' TensorFlow models.

tensorflow/models, research/object_detection: anchor_generators/multiple_grid_anchor_generator.py, whose
`create_ssd_anchors` with `reduce_boxes_in_lowest_layer` this is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

LEVELS = 6
# Width / height; a third is spelled so in their configurations.
_RATIOS = (1.0, 2.0, 0.5, 3.0, 0.3333)
# The first level's smallest anchor does not follow from the scales.
_SMALLEST = 0.1

Anchor = tuple[float, float]
"""(scale, width / height); scale 1 is the shorter side of the image."""


def anchors_by_level(min_scale: float, max_scale: float) -> tuple[tuple[Anchor, ...], ...]:
    """Those of a pixel of each level, whose scales lie evenly between the two."""
    steps = [min_scale + (max_scale - min_scale) * level / (LEVELS - 1) for level in range(LEVELS)]
    first = ((_SMALLEST, 1.0), (min_scale, 2.0), (min_scale, 0.5))
    further = (
        (*((scale, ratio) for ratio in _RATIOS), (math.sqrt(scale * larger), 1.0))
        for scale, larger in pairwise([*steps[1:], 1.0])
    )
    return first, *further


def anchor_boxes(
    levels: Sequence[Sequence[Anchor]], grids: Sequence[tuple[int, int]], image: tuple[int, int]
) -> list[list[float]]:
    """(centre y, centre x, height, width) of every anchor, as parts of the image, by level, row, column.

    `grids` are the (rows, columns) of each level's pixels; `image` is (height, width).
    """
    shorter = min(image)
    boxes = []
    for anchors, (rows, columns) in zip(levels, grids, strict=True):
        sizes = [
            (scale / math.sqrt(ratio) * shorter / image[0], scale * math.sqrt(ratio) * shorter / image[1])
            for scale, ratio in anchors
        ]
        boxes += [
            [(row + 0.5) / rows, (column + 0.5) / columns, *size]
            for row in range(rows)
            for column in range(columns)
            for size in sizes
        ]
    return boxes
