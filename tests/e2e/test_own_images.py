"""What a network of the user's own takes and gives: its labels, how an image becomes its input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import pytest

from compile.labels import labels
from compile.source import InputFormat
from tests.e2e.conftest import Armature, document
from tests.e2e.drawings import draw, draw_masks
from tests.e2e.test_bad_input import check

pytestmark = pytest.mark.emulator


def test_several_images_at_a_time_are_compared_as_numbers(armature: Armature, tmp_path: Path) -> None:
    made = armature(
        *("compile", "tests.e2e.colours:Boxes", "--input", "image=2x3x64x64"),
        *("--cpu", "cortex-a53", "-o", tmp_path / "two", "--validate", "emulated", "--json"),
    )
    assert made.exit_code == 0, made.stderr
    assert document(made)["validation"]["task"] == "tensors"
    check(armature("run", tmp_path / "two", "--input", "x.jpg"), "takes no image, or several")


def test_an_own_network_takes_labels_and_a_fit(armature: Armature, tmp_path: Path) -> None:
    network = ("tests.e2e.colours:Boxes", "--input", "image=1x3x64x64", "--cpu", "cortex-a53")
    made = armature("compile", *network, "--labels", "coco", "--fit", "stretch", "-o", tmp_path / "boxes")
    assert made.exit_code == 0, made.stderr
    manifest = json.loads((tmp_path / "boxes" / "manifest.json").read_text())
    assert manifest["labels"] == "coco" and manifest["preprocess"]["fit"] == "stretch"
    image = draw(tmp_path) / "one.png"
    (found,) = document(armature("run", tmp_path / "boxes", "--input", image, "-o", tmp_path, "--json"))
    (row,) = found["detections"]
    assert row["name"] == "person" and row["box"] == pytest.approx([8, 8, 24, 24], abs=1)
    report = document(armature("validate", tmp_path / "boxes", "--data", image, "--json"))
    assert report["passed"] and report["inputs"][0]["device_boxes"][0][:4] == row["box"]


@pytest.mark.parametrize(("mean", "std", "found"), [("0.4", "0.5", 1), ("0", "1", 0)])
@pytest.mark.parametrize("format_", get_args(InputFormat))
def test_an_own_network_takes_a_normalisation(
    armature: Armature, tmp_path: Path, mean: str, std: str, found: int, format_: str
) -> None:
    """Its pixels count from 1 upwards, which 0 to 1 is not."""
    made = armature(
        *("compile", "tests.e2e.colours:Boxes", "--input", "image=1x3x64x64", "--input-format", format_),
        *("--mean", ",".join([mean] * 3), "--std", ",".join([std] * 3), "-o", tmp_path / "boxes"),
    )
    assert made.exit_code == 0, made.stderr
    steps = json.loads((tmp_path / "boxes" / "manifest.json").read_text())["preprocess"]
    assert (steps["mean"], steps["std"]) == ([float(mean)] * 3, [float(std)] * 3)
    image = draw(tmp_path) / "one.png"
    (answer,) = document(armature("run", tmp_path / "boxes", "--input", image, "-o", tmp_path, "--json"))
    assert len(answer["detections"]) == found
    assert document(armature("validate", tmp_path / "boxes", "--data", image, "--json"))["passed"]


def test_an_own_network_takes_own_labels(armature: Armature, tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_text("# what it was trained for\nfire engine\nfrog\nsky\n", encoding="utf-8")
    network = ("tests.e2e.colours:Boxes", "--input", "image=1x3x64x64", "--cpu", "cortex-a53")
    made = armature("compile", *network, "--labels", names, "-o", tmp_path / "boxes")
    assert made.exit_code == 0, made.stderr
    images = draw(tmp_path)
    report = document(armature("validate", tmp_path / "boxes", "--data", images / "two.png", "--json"))
    assert report["passed"]
    names.unlink()
    (found,) = document(
        armature("run", tmp_path / "boxes", "--input", images / "two.png", "-o", tmp_path, "--json")
    )
    assert [row["name"] for row in found["detections"]] == ["fire engine", "frog"]


def test_folders_of_own_labels(armature: Armature, tmp_path: Path) -> None:
    """A classifier of eleven."""
    names, data = tmp_path / "names.txt", tmp_path / "data"
    names.write_text("\n".join(f"kind {number}" for number in range(11)), encoding="utf-8")
    small = ("compile", "tests.e2e.test_own_model:small_net", "--input", "picture=1x3x24x24")
    made = armature(*small, "--labels", names, "--cpu", "cortex-a53", "-o", tmp_path / "small")
    assert made.exit_code == 0, made.stderr
    draw(data / "kind 3")
    report = document(armature("validate", tmp_path / "small", "--data", data, "--json"))
    assert report["passed"] and {each["label"] for each in report["inputs"]} == {3}
    draw(data / "kind 33")
    check(armature("validate", tmp_path / "small", "--data", data), "kind 33", "not a class")


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--mean", "0.5", "not R,G,B"),
        ("--mean", "123.7,116.3,103.5", "not from 0 to 1"),
        ("--std", "0,1,1", "not above 0"),
    ],
)
def test_a_normalisation_of_three_parts(armature: Armature, option: str, value: str, words: str) -> None:
    refused = armature("compile", "mobilenet_v2", option, value)
    assert refused.exit_code == 2 and f"Invalid value for '{option}'" in refused.stderr
    assert words in refused.stderr


@pytest.mark.parametrize(
    ("network", "options", "words"),
    [
        (("test_own_model:small_net", "picture=1x3x24x24"), ("--labels", "coco"), ("11 classes", "80")),
        (
            ("test_own_model:small_net", "picture=1x3x24x24"),
            ("--labels", "no.txt"),
            ("no.txt", "a text file"),
        ),
        (("test_own_model:sums", "input=2x2x9x11"), ("--fit", "stretch"), ("no image", "--fit")),
        (("test_own_model:sums", "input=2x2x9x11"), ("--std", "1,1,1"), ("no image", "--std")),
    ],
)
def test_labels_and_fits_that_do_not_apply(
    armature: Armature, tmp_path: Path, network: tuple[str, str], options: tuple, words: tuple
) -> None:
    model, shape = f"tests.e2e.{network[0]}", network[1]
    check(armature("compile", model, "--input", shape, *options, "-o", tmp_path / "out"), *words)


def test_a_registered_segmenter_tells_vocs_classes(armature: Armature, tmp_path: Path) -> None:
    made = armature(
        *("compile", "deeplabv3_mobilenet_v2", "--input", "image=1x3x65x65", "--weights", "random:0"),
        *("--cpu", "cortex-a53", "-o", tmp_path / "deeplab"),
    )
    assert made.exit_code == 0, made.stderr
    manifest = json.loads((tmp_path / "deeplab" / "manifest.json").read_text())
    assert (manifest["task"], manifest["labels"], manifest["preprocess"]["fit"]) == (
        "segment",
        "voc",
        "letterbox",
    )
    draw_masks(tmp_path)
    report = document(armature("validate", tmp_path / "deeplab", "--data", tmp_path, "--json"))
    assert report["passed"] and report["agreement"] >= 0.999 and report["labelled"] == 2
    assert {"background", "aeroplane", "bicycle"} <= set(report["iou_by_class"]) <= set(labels("voc"))
    assert report["miou"] == pytest.approx(report["reference_miou"], abs=0.01)
