"""Libraries that take a camera's frames: uint8, pixels by row, normalised inside."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from compile.frontend import trace
from compile.preprocess import Preprocess
from compile.source import FLOATS, FRAMES, Source
from tests.e2e.conftest import Armature, document
from tests.e2e.test_bad_input import check
from tests.e2e.test_c_library import emulated

SMALL = ("--arg", "width=0.35", "--input", "image=1x3x96x96", "--weights", "random:0")


@pytest.fixture(scope="module")
def frames_bundle(armature: Armature, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("frames") / "small"
    options = ("--cpu", "cortex-a53", "--input-format", "uint8-nhwc", "-o", folder)
    result = armature("compile", "mobilenet_v2", *SMALL, *options)
    assert result.exit_code == 0, result.stderr
    return folder


@pytest.mark.emulator
def test_frames_agree_with_pytorch(armature: Armature, frames_bundle: Path) -> None:
    manifest = json.loads((frames_bundle / "manifest.json").read_text())
    (image,) = manifest["inputs"]
    assert (image["shape"], image["dtype"], image["layout"]) == ([1, 96, 96, 3], "uint8", "NHWC")
    told = emulated(frames_bundle / "run", "--input", frames_bundle / "manifest.json").stderr
    assert "'image' wants 27648 bytes (uint8 1x96x96x3)" in told
    report = document(armature("validate", frames_bundle, "--limit", 3, "--json"))
    assert report["passed"] and report["top1_agreement"] == 3 and report["max_abs_error"] > 0


@pytest.mark.emulator
def test_frames_cost_no_kernel(frames_bundle: Path, small_bundle: Path) -> None:
    """The first layers are as they would be: the stem normalises frames and turns them around as it reads."""
    kinds = [
        [kernel["kind"] for kernel in json.loads((bundle / "manifest.json").read_text())["kernels"]]
        for bundle in (frames_bundle, small_bundle)
    ]
    assert kinds[0] == kinds[1]


@pytest.mark.emulator
def test_the_answer_is_that_of_floats(
    armature: Armature, frames_bundle: Path, small_bundle: Path, images: Path
) -> None:
    picture = images / "imagenet_00_243.jpg"
    ours, theirs = (
        document(armature("run", bundle, "--input", picture, "--json"))[0]["classes"]
        for bundle in (frames_bundle, small_bundle)
    )
    assert [row["label"] for row in ours] == [row["label"] for row in theirs]
    for one, other in zip(ours, theirs, strict=True):
        assert one["probability"] == pytest.approx(other["probability"], rel=1e-3)


@pytest.mark.emulator
def test_frames_of_an_own_detector(armature: Armature, tmp_path: Path) -> None:
    options = ("--input", "image=1x3x64x64", "--input-format", "uint8-nhwc", "--cpu", "cortex-a53")
    made = armature("compile", "tests.e2e.colours:Boxes", *options, "-o", tmp_path / "boxes")
    assert made.exit_code == 0, made.stderr
    picture = Image.new("RGB", (64, 48))
    picture.paste("#ff0000", (8, 8, 24, 24))
    picture.save(tmp_path / "red.png")
    report = document(armature("validate", tmp_path / "boxes", "--data", tmp_path / "red.png", "--json"))
    assert report["task"] == "detect" and report["passed"]
    assert report["inputs"][0]["device_boxes"][0][:4] == [8, 8, 24, 24]


def test_frames_mean_the_same_to_pytorch():
    """Preprocessing and the network together, whichever of them normalises."""
    picture = Image.radial_gradient("L").convert("RGB").resize((130, 90))
    outputs = []
    for input_format in (FLOATS, FRAMES):
        source = Source(
            "mobilenet_v2", {"width": "0.35"}, "random:0", {"image": (1, 3, 96, 96)}, input_format
        )
        traced = trace(Source.from_json(json.loads(json.dumps(source.to_json()))))
        steps = Preprocess.from_json(json.loads(json.dumps(traced.preprocess.to_json())))
        array = steps.apply(picture)
        assert (array.shape, str(array.dtype)) == (traced.inputs[0].shape, traced.inputs[0].dtype)
        outputs.append(torch.from_numpy(traced.reference(array)[0]))
    torch.testing.assert_close(*outputs, rtol=1e-3, atol=1e-3)


def test_a_network_without_an_image_takes_no_frames(armature: Armature, tmp_path: Path) -> None:
    options = ("--input", "input=2x2x9x11", "--input-format", "uint8-nhwc", "-o", tmp_path / "out")
    check(armature("compile", "tests.e2e.test_own_model:sums", *options), "takes no image", "--input-format")
