"""Images with boxes: COCO's JSON, VOC's XML or labelme's JSON; see `LAYOUTS`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from compile.datasets import coco, labelme, voc
from compile.datasets.images import find_images
from compile.datasets.marks import Annotated, Annotations
from compile.datasets.sample import Dataset, Sample, index_of
from compile.labels import labels


@dataclass(frozen=True)
class Box:
    """x1, y1, x2, y2 in pixels of the image, and the index of its class.

    It is `ignored` where it neither counts when it is found nor when it is not (COCO's crowds, VOC's
    difficult objects).
    """

    corners: tuple[float, float, float, float]
    label: int
    ignored: bool = False


LAYOUTS: Mapping[str, tuple[Callable[[Path], Path | None], Callable[[Path], Annotations]]] = {
    "COCO": (coco.find, coco.read),
    "VOC": (voc.find_boxes, voc.read_boxes),
    "labelme": (labelme.find, labelme.read_boxes),
}
"""How a layout is told, and how what is found is read. The first that fits is taken."""


def find_boxes(root: Path, label_set: str | None) -> Dataset:
    """The images at `root` with tuples of Box for truth, as far as there are annotations.

    Annotated classes are matched to those of `label_set` by name; without one they are the network's own, in
    the order of the annotations. Raises UserError where there is no image, or annotations cannot be read.
    """
    for find, read in LAYOUTS.values():
        place = find(root)
        if place is not None:
            return _dataset(read(place), label_set)
    return Dataset([Sample(sample.path) for sample in find_images(root, None)])


def _dataset(found: Annotations, label_set: str | None) -> Dataset:
    own = [name for name in found.names if name != labelme.BACKGROUND]
    find = index_of(label_set, own)
    unknown: Counter[str] = Counter()
    samples = [Sample(image.path, tuple(_boxes(image, find, unknown))) for image in found.images]
    names: Sequence[str] = labels(label_set) if label_set else own
    return Dataset(samples, names, dict(unknown))


def _boxes(image: Annotated, find: Callable[[str], int | None], unknown: Counter[str]) -> Iterable[Box]:
    for mark in image.marks:
        label = find(mark.name)
        if label is None:
            unknown[mark.name] += 1
        else:
            yield Box(mark.corners, label, mark.ignored)
