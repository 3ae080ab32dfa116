"""Images and masks whose annotations are known: the networks of colours.py find them exactly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from compile.pictures import colour

SIZE = (64, 48)  # in an input of 64x64 it is not resized, so that answers are exact
RED, GREEN = "#ff0000", "#00ff00"
BOXES = {  # by image: a colour's name, its box
    "one.png": [("red", (8, 8, 24, 24))],
    "two.png": [("red", (0, 0, 10, 10)), ("green", (30, 20, 60, 40))],
}
NAMES = ("red", "green", "blue")


def draw(folder: Path) -> Path:
    """The images of BOXES."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, boxes in BOXES.items():
        picture = Image.new("RGB", SIZE)
        for colour_name, box in boxes:
            picture.paste({"red": RED, "green": GREEN}[colour_name], box)
        picture.save(folder / name)
    return folder


def draw_masks(folder: Path) -> None:
    """VOC's layout for BOXES. Of one.png four rows of green are not in the image, and a border is void."""
    draw(folder / "JPEGImages")
    (folder / "SegmentationClass").mkdir()
    for name, boxes in BOXES.items():
        classes = np.zeros(SIZE[::-1], np.uint8)
        for label, (x1, y1, x2, y2) in boxes:
            classes[y1:y2, x1:x2] = 1 + NAMES.index(label)
        if name == "one.png":
            classes[44:] = 2
            classes[8:24, 8:10] = 255
        mask = Image.fromarray(classes, "P")
        mask.putpalette([part for label in range(256) for part in colour(label)])
        mask.save(folder / "SegmentationClass" / name)
