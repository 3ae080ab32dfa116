"""The trained person detector on three annotated images: COCO's precision on the device and on PyTorch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from compile import detections
from compile.labels import labels
from compile.tasks import TASKS
from tests.compile.test_detectors import VOC, needs_images, needs_weights
from tests.e2e.conftest import Armature, document

pytestmark = [pytest.mark.emulator, needs_images, needs_weights]


@pytest.fixture(scope="module")
def people(armature: Armature, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("person") / "bundle"
    result = armature(
        "compile", "ssdlite_mobilenet_v2", "--weights", "person", "--cpu", "cortex-a72", "-o", folder
    )
    assert result.exit_code == 0, result.stderr
    return folder


def test_people_are_found_as_by_pytorch(armature: Armature, people: Path) -> None:
    report = document(armature("validate", people, "--data", VOC, "--json"))
    assert report["task"] == "detect" and report["passed"] and report["labelled"] == 3
    assert report["same_count"] == report["same_labels"] == 3 and report["min_iou"] > 0.999
    assert report["ap50"] == report["reference_ap50"] == pytest.approx(1)
    assert report["ap"] == report["reference_ap"] > 0.65
    assert list(report["ap_by_class"]) == ["person"]
    assert report["unknown_classes"] == {"bus": 2, "car": 1}


def test_people_are_drawn(armature: Armature, people: Path, tmp_path: Path) -> None:
    image = VOC / "JPEGImages" / "2011_000006.jpg"
    (found,) = document(armature("run", people, "--input", image, "-o", tmp_path, "--json"))
    best = found["detections"][0]
    assert best["name"] == "person" and best["score"] > 0.9
    changed = np.abs(
        np.asarray(Image.open(found["picture"]), int) - np.asarray(Image.open(image).convert("RGB"), int)
    ).max(2)
    x1, y1, x2, y2 = (round(side) for side in best["box"])
    assert (changed[y1 + 20 : y2 - 2, x1] > 0).mean() > 0.9 and (changed[y2 - 1, x1:x2] > 0).mean() > 0.9
    assert not changed[:60].any()  # nobody is there
    assert all(row["score"] >= 0.3 for row in found["detections"])
    (all_found,) = document(
        armature("run", people, "--input", image, "-o", tmp_path, "--min-score", 0, "--json")
    )
    assert len(all_found["detections"]) > len(found["detections"])


def test_detectors_name_cocos_classes(armature: Armature, tmp_path: Path) -> None:
    assert list(TASKS["detect"].outputs) == list(detections.OUTPUTS)
    assert labels("person") == ("person",)
    result = armature(
        *("compile", "ssdlite_mobilenet_v2", "--weights", "random:0", "--input", "image=1x3x128x128"),
        *("--cpu", "cortex-a53", "-o", tmp_path / "coco", "--validate", "emulated", "--json"),
    )
    assert result.exit_code in (0, 1), result.stderr
    validation = document(result)["validation"]
    assert validation["task"] == "detect" and validation["images"] == 20
    (found,) = document(
        armature(
            "run",
            tmp_path / "coco",
            "--input",
            VOC / "JPEGImages" / "2011_000003.jpg",
            "-o",
            tmp_path,
            "--json",
        )
    )
    assert all(row["name"] in labels("coco") for row in found["detections"])
