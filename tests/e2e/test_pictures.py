"""Pictures of what was found, on the emulated board."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from compile.pictures import colour
from tests.e2e.conftest import Armature, document
from tests.e2e.drawings import SIZE, draw
from tests.e2e.test_bad_input import check

pytestmark = pytest.mark.emulator


def test_boxes_are_drawn(armature: Armature, detector: Path, tmp_path: Path) -> None:
    image = draw(tmp_path / "in") / "two.png"
    before = image.read_bytes()
    (found,) = document(armature("run", detector, "--input", image, "-o", tmp_path / "out", "--json"))
    assert [row["box"] for row in found["detections"]] == [[0, 0, 10, 10], [30, 20, 60, 40]]
    assert [row["label"] for row in found["detections"]] == [0, 1]
    drawn = Image.open(found["picture"])
    assert drawn.size == SIZE and image.read_bytes() == before
    assert Path(found["picture"]) == tmp_path / "out" / "two-detect.png"
    pixels, original = np.asarray(drawn), np.asarray(Image.open(image))
    assert (pixels[38:40, 30:60] == colour(2)).all() and (pixels[20:40, 58:60] == colour(2)).all()
    assert (pixels[42:] == original[42:]).all()
    text = armature("run", detector, "--input", image, "-o", tmp_path / "out").stdout
    assert "class 1" in text and "30.0 20.0 60.0 40.0" in text and "two-detect.png" in text


def test_classes_are_coloured_with_a_legend(armature: Armature, segmenter: Path, tmp_path: Path) -> None:
    image = draw(tmp_path) / "two.png"
    (found,) = document(armature("run", segmenter, "--input", image, "-o", tmp_path, "--json"))
    pixels = {row["label"]: row["pixels"] for row in found["classes"]}
    assert pixels == {0: 64 * 48 - 700, 1: 100, 2: 600}
    drawn, original = np.asarray(Image.open(found["picture"])), np.asarray(Image.open(image))
    assert drawn.shape[0] > 48 and drawn.shape[1] == 64
    mixed = (original * 0.45 + np.array(colour(2)) * 0.55).round()
    assert np.abs(drawn[22:38, 32:58] - mixed[22:38, 32:58]).max() <= 1
    legend = {tuple(pixel) for row in drawn[48:] for pixel in row}
    assert {colour(label) for label in pixels} <= legend and colour(3) not in legend


def test_no_input_is_overwritten(armature: Armature, detector: Path, tmp_path: Path) -> None:
    first = draw(tmp_path) / "one.png"
    second = tmp_path / "one-detect.png"
    second.write_bytes((tmp_path / "two.png").read_bytes())
    before = second.read_bytes()
    found = document(armature("run", detector, "--input", first, "--input", second, "-o", tmp_path, "--json"))
    assert [Path(each["picture"]).name for each in found] == ["one-detect-2.png", "one-detect-detect.png"]
    assert second.read_bytes() == before


def test_pictures_that_cannot_be_written(armature: Armature, detector: Path, tmp_path: Path) -> None:
    image = draw(tmp_path) / "one.png"
    place = image / "below"
    check(armature("run", detector, "--input", image, "-o", place), "Cannot write", "-o")


def test_other_outputs_are_summed_up(armature: Armature, tmp_path: Path) -> None:
    made = armature(
        *("compile", "tests.e2e.test_validate:Nearest", "--input", "image=1x3x24x24"),
        *("--cpu", "a53", "-o", tmp_path / "map"),
    )
    assert made.exit_code == 0, made.stderr
    image = draw(tmp_path / "in") / "one.png"
    (found,) = document(armature("run", tmp_path / "map", "--input", image, "--json"))
    assert found["outputs"][0]["shape"] == [1, 24, 24] and "picture" not in found
    assert "uint8" in armature("run", tmp_path / "map", "--input", image).stdout
