"""Detection and segmentation on the emulated board: metrics against annotations, and resuming."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from compile.cli import show_answers
from tests.e2e.conftest import Armature, document, wait_for
from tests.e2e.drawings import BOXES, NAMES, SIZE, draw, draw_masks
from tests.e2e.test_bad_input import check

pytestmark = pytest.mark.emulator


def _coco(folder: Path, images: tuple[str, ...] = tuple(BOXES)) -> dict:
    """COCO's description of BOXES, whose categories are 5, 7 and 9."""
    draw(folder / "images")
    annotations = [
        {
            "image_id": i,
            "category_id": 5 + 2 * NAMES.index(name),
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "iscrowd": 0,
        }
        for i, image in enumerate(images)
        for name, (x1, y1, x2, y2) in BOXES.get(image, [])
    ]
    return {
        "images": [{"id": i, "file_name": name} for i, name in enumerate(images)],
        "categories": [{"id": 5 + 2 * i, "name": name} for i, name in enumerate(NAMES)],
        "annotations": annotations,
    }


def _save(path: Path, data: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(data if isinstance(data, str) else json.dumps(data))
    return path


def test_a_perfect_detector_has_full_precision(armature: Armature, detector: Path, tmp_path: Path) -> None:
    _save(tmp_path / "instances_all.json", _coco(tmp_path))
    report = document(armature("validate", detector, "--data", tmp_path, "--json"))
    assert report["task"] == "detect" and report["passed"]
    assert report["images"] == report["labelled"] == report["same_count"] == report["same_labels"] == 2
    assert report["ap"] == report["reference_ap"] == report["ap50"] == pytest.approx(1)
    assert report["min_iou"] > 0.999 and report["max_score_error"] < 1e-5
    assert report["inputs"][0]["device_boxes"][0][:4] == [8, 8, 24, 24]
    text = armature("validate", detector, "--data", tmp_path)
    assert text.exit_code == 0
    assert "AP: 100.00% (PyTorch: 100.00%), 2 annotated images" in text.stdout and "validated" in text.stdout


def test_precision_of_a_box_that_overlaps_by_half(armature: Armature, detector: Path, tmp_path: Path) -> None:
    """Red is found twice, once with IoU 0.5: of ten thresholds that is right at the first only."""
    described = _coco(tmp_path)
    described["annotations"][1]["bbox"] = [0, 0, 10, 20]
    file = _save(tmp_path / "annotations" / "instances_all.json", described)
    report = document(armature("validate", detector, "--data", file, "--json"))
    red = (1 + 9 * 51 / 101) / 10
    assert report["ap_by_class"] == pytest.approx({"red": red, "green": 1})
    assert report["ap"] == report["reference_ap"] == pytest.approx((red + 1) / 2)
    assert report["ap50"] == pytest.approx(1)


def _xml(boxes: list) -> str:
    objects = "".join(
        f"<object><name>{name}</name><bndbox><xmin>{x1 + 1}</xmin><ymin>{y1 + 1}</ymin>"
        f"<xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>"
        for name, (x1, y1, x2, y2) in boxes
    )
    return f"<annotation>{objects}</annotation>"


def test_vocs_layout(armature: Armature, detector: Path, tmp_path: Path) -> None:
    draw(tmp_path / "JPEGImages")
    for name, boxes in BOXES.items():
        _save(tmp_path / "Annotations" / f"{Path(name).stem}.xml", _xml(boxes))
    _save(tmp_path / "class_names.txt", "\n".join(NAMES))
    report = document(armature("validate", detector, "--data", tmp_path, "--json"))
    assert report["ap"] == pytest.approx(1) and report["labelled"] == 2


def test_labelmes_layout(armature: Armature, detector: Path, tmp_path: Path) -> None:
    draw(tmp_path)
    for name, boxes in BOXES.items():
        shapes = [
            {"label": label, "points": [[x1, y1], [x2, y2]], "shape_type": "rectangle"}
            for label, (x1, y1, x2, y2) in boxes
        ]
        _save(tmp_path / f"{Path(name).stem}.json", {"shapes": shapes})
    _save(tmp_path / "labels.txt", "\n".join(["__ignore__", "_background_", *NAMES]))
    report = document(armature("validate", detector, "--data", tmp_path, "--json"))
    assert report["ap"] == pytest.approx(1) and report["labelled"] == 2


def test_images_without_annotations_are_compared_only(
    armature: Armature, detector: Path, tmp_path: Path
) -> None:
    report = document(armature("validate", detector, "--data", draw(tmp_path), "--json"))
    assert report["passed"] and report["images"] == 2 and report["labelled"] == 0 and report["ap"] is None
    text = armature("validate", detector, "--data", tmp_path).stdout
    assert "AP" not in text and "validated" in text


def test_images_elsewhere_and_of_equal_names(armature: Armature, detector: Path, tmp_path: Path) -> None:
    one, two = draw(tmp_path / "a") / "one.png", draw(tmp_path / "b") / "one.png"
    described = _coco(tmp_path / "c", ("one.png", "two.png"))
    described["images"] = [{"id": 0, "file_name": str(one)}, {"id": 1, "file_name": str(two)}]
    described["annotations"] = [{**described["annotations"][0], "image_id": image} for image in (0, 1)]
    report = document(
        armature("validate", detector, "--data", _save(tmp_path / "c" / "x.json", described), "--json")
    )
    assert [row["input"] for row in report["inputs"]] == [str(one), str(two)]
    assert report["ap"] == pytest.approx(1)


def test_of_many_inputs_those_that_differ_are_listed(
    armature: Armature, detector: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(show_answers, "MOST_ROWS", 1)
    images, results = draw(tmp_path / "images"), tmp_path / "results.jsonl"
    run = ("validate", detector, "--data", images, "--resume", results)
    assert "since they pass: 2" in armature(*run).stdout
    results.write_text(results.read_text().replace('"passed": true', '"passed": false', 1))
    failed = armature(*run)
    assert failed.exit_code == 1
    assert (
        "since they pass: 1" in failed.stdout
        and "one.png" in failed.stdout
        and "two.png" not in failed.stdout
    )


def test_unreadable_images_are_listed(armature: Armature, detector: Path, tmp_path: Path) -> None:
    _save(tmp_path / "annotations.json", _coco(tmp_path, (*BOXES, "broken.png", "absent.png")))
    _save(tmp_path / "images" / "broken.png", "no image")
    result = armature("validate", detector, "--data", tmp_path, "--json")
    report = document(result)
    assert result.exit_code == 0 and report["images"] == 2
    assert [failure["input"] for failure in report["failures"]] == ["images/broken.png", "images/absent.png"]
    text = armature("validate", detector, "--data", tmp_path).stdout
    assert "not compared: images/broken.png" in text and "There is no image" in text


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"annotations.json": "{"}, ["annotations.json", "JSON"]),
        ({"annotations.json": "[1]"}, ["annotations.json", "COCO"]),
        ({"annotations.json": {"images": [], "annotations": []}}, ["annotations.json", "categories"]),
        ({"annotations.json": {"images": [], "annotations": [], "categories": []}}, ["lists no images"]),
        (
            {
                "annotations.json": {
                    "images": [{"id": 1, "file_name": "x.jpg"}],
                    "annotations": [],
                    "categories": [],
                }
            },
            ["x.jpg", "beside"],
        ),
        (
            {"instances_a.json": "{}", "instances_b.json": "{}"},
            ["instances_a.json, instances_b.json", "--data"],
        ),
        ({"Annotations/one.xml": "<annotation>"}, ["one.xml", "VOC"]),
        ({"Annotations/one.xml": "<a><object><name>red</name></object></a>"}, ["one.xml", "no xmin"]),
        ({"one.png": "", "one.json": {"shapes": [{"label": "red"}]}}, ["one.json", "labelme"]),
        ({"note.txt": ""}, ["No images"]),
    ],
)
def test_annotations_that_cannot_be_used(
    armature: Armature, detector: Path, tmp_path: Path, files: dict, words: list[str]
) -> None:
    for name, data in files.items():
        _save(tmp_path / name, data)
    check(armature("validate", detector, "--data", tmp_path), *words)


def test_mean_iou_of_vocs_masks(armature: Armature, segmenter: Path, tmp_path: Path) -> None:
    draw_masks(tmp_path)
    report = document(armature("validate", segmenter, "--data", tmp_path, "--json"))
    assert report["task"] == "segment" and report["passed"] and report["labelled"] == 2
    everything, missed, found_green, void = 2 * 64 * 48, 4 * 64, 30 * 20, 16 * 2
    red = 16 * 14 + 10 * 10
    nothing = everything - void - missed - found_green - red
    expected = {
        "class 0": nothing / (nothing + missed),
        "class 1": 1.0,
        "class 2": found_green / (found_green + missed),
    }
    assert report["iou_by_class"] == report["reference_iou_by_class"] == pytest.approx(expected)
    assert report["miou"] == report["reference_miou"] == pytest.approx(np.mean(list(expected.values())))
    assert report["pixel_accuracy"] == pytest.approx(1 - missed / (everything - void))
    text = armature("validate", segmenter, "--data", tmp_path).stdout
    assert f"mean IOU: {100 * report['miou']:.2f}%" in text and "validated" in text


def test_masks_as_arrays(armature: Armature, segmenter: Path, tmp_path: Path) -> None:
    draw_masks(tmp_path)
    before = document(armature("validate", segmenter, "--data", tmp_path, "--json"))
    for mask in (tmp_path / "SegmentationClass").glob("*.png"):
        values = np.asarray(Image.open(mask)).astype(np.int32)
        np.save(mask.with_suffix(".npy"), np.where(values == 255, -1, values))
        mask.unlink()
    after = document(armature("validate", segmenter, "--data", tmp_path, "--json"))
    assert after["iou_by_class"] == before["iou_by_class"]


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (Image.new("RGB", SIZE), ["one.png", "colours"]),
        (Image.new("L", (5, 7)), ["one.png", "5x7", "64x48"]),
    ],
)
def test_masks_that_cannot_be_used(
    armature: Armature, segmenter: Path, tmp_path: Path, mask: Image.Image, words: list[str]
) -> None:
    draw_masks(tmp_path)
    mask.save(tmp_path / "SegmentationClass" / "one.png")
    report = armature("validate", segmenter, "--data", tmp_path).stdout
    assert all(word in report for word in words) and "validated" in report
    (tmp_path / "SegmentationClass" / "two.png").unlink()
    check(armature("validate", segmenter, "--data", tmp_path), *words)


def test_what_is_done_is_not_done_again(armature: Armature, detector: Path, tmp_path: Path) -> None:
    _save(tmp_path / "annotations.json", _coco(tmp_path))
    results = tmp_path / "results.jsonl"
    run = ("validate", detector, "--data", tmp_path, "--resume", results, "--json")
    assert document(armature(*run, "--limit", 1))["resumed"] == 0
    subject, kept = (json.loads(line) for line in results.read_text().splitlines())
    kept["device_boxes"] = [[0, 0, 1, 1, 0.5, 2]]  # told apart from what a second run would find
    results.write_text("\n".join(map(json.dumps, (subject, kept))) + '\n{"input": "images/two.png", "dev')
    report = document(armature(*run))
    assert report["resumed"] == 1 and report["images"] == 2
    assert report["inputs"][0]["device_boxes"] == kept["device_boxes"]
    assert report["inputs"][1]["device_boxes"][0][:4] == [0, 0, 10, 10]
    again = document(armature(*run))
    assert again["resumed"] == 2 and again["inputs"] == report["inputs"]


def test_results_of_another_bundle_are_refused(
    armature: Armature, detector: Path, segmenter: Path, tmp_path: Path
) -> None:
    results = tmp_path / "results.jsonl"
    images = draw(tmp_path / "images")
    armature("validate", detector, "--data", images, "--resume", results)
    check(
        armature("validate", segmenter, "--data", images, "--resume", results), "another bundle", "--resume"
    )
    check(armature("validate", detector, "--data", images / "one.png", "--resume", results), "another data")
    _save(images / "annotations.json", _coco(tmp_path))
    check(armature("validate", detector, "--data", images, "--resume", results), "another annotations")
    check(armature("validate", detector, "--resume", _save(tmp_path / "x", "text\n")), "no results")
    check(armature("validate", detector, "--resume", results / "below"), "Cannot write")


def test_an_interrupted_run_goes_on(armature: Armature, detector: Path, tmp_path: Path) -> None:
    images = draw(tmp_path / "images")
    for number in range(400):
        (images / f"{number:03}.png").symlink_to("one.png")
    results = tmp_path / "results.jsonl"
    run = ["validate", str(detector), "--data", str(images), "--resume", str(results), "--json"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-m", "compile.cli", *run]
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, cwd=root
    ) as running:
        wait_for(lambda: results.exists() and results.read_bytes().count(b"\n") > 5)
        running.send_signal(signal.SIGINT)
        running.communicate(timeout=30)
    assert running.returncode == 130
    done = results.read_bytes().count(b"\n") - 1
    assert 5 <= done < 402
    report = document(armature(*run, "--limit", done + 3))
    assert report["resumed"] == done and report["images"] == done + 3
