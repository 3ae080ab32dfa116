"""`validate` and `run` on the emulated board: right answers, and wrong ones found out."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import torch
from PIL import Image

from compile.tasks import agreement
from tests.e2e.conftest import Armature, compile_small, document, wait_for

pytestmark = pytest.mark.emulator


@pytest.fixture(scope="session")
def trained_bundle(armature: Armature, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MobileNetV2 1.0 at 224 pixels with its ImageNet weights, for cortex-a72."""
    folder = tmp_path_factory.mktemp("bundles") / "mobilenet_v2-cortex-a72"
    result = armature("compile", "mobilenet_v2", "--cpu", "cortex-a72", "--weights", "imagenet", "-o", folder)
    assert result.exit_code == 0, result.stderr
    return folder


def test_trained_network_agrees_with_pytorch(armature: Armature, trained_bundle: Path) -> None:
    result = armature("validate", trained_bundle, "--device", "emulated", "--limit", 4, "--json")
    assert result.exit_code == 0, result.stderr
    report = document(result)
    assert report["images"] == report["top1_agreement"] == report["top1"] == report["top5"] == 4
    assert 0 < report["max_abs_error"] < 1e-3
    assert report["device"] == "emulated:cortex-a72" and report["core"] == "cortex-a72"


@pytest.mark.slow
def test_all_twenty_images(armature: Armature, trained_bundle: Path) -> None:
    report = document(armature("validate", trained_bundle, "--json"))
    assert report["images"] == report["top1_agreement"] == 20
    assert report["max_abs_error"] < 1e-3
    assert (
        (report["top1"], report["top5"]) == (report["reference_top1"], report["reference_top5"]) == (18, 20)
    )


def test_run_names_the_class(armature: Armature, trained_bundle: Path, images: Path) -> None:
    picture = images / "imagenet_00_243.jpg"
    (found,) = document(armature("run", trained_bundle, "--input", picture, "--json"))
    assert next(guess["name"] for guess in found["classes"]) == "bull mastiff"
    assert len(found["classes"]) == 5
    text = armature("run", trained_bundle, "--input", picture)
    assert text.exit_code == 0 and "bull mastiff" in text.stdout


@pytest.mark.parametrize("cpu", ["cortex-a55", "cortex-a76"])
def test_other_cores(armature: Armature, tmp_path: Path, cpu: str) -> None:
    compile_small(armature, tmp_path / "out", cpu)
    report = document(armature("validate", tmp_path / "out", "--limit", 2, "--json"))
    assert report["passed"] and report["device"] == f"emulated:{cpu}"


def test_report_for_people(armature: Armature, small_bundle: Path) -> None:
    result = armature("validate", small_bundle, "--limit", 2)
    assert result.exit_code == 0
    assert "top-1 equal to PyTorch's: 2 of 2" in result.stdout and "validated" in result.stdout


def test_a_difference_fails(armature: Armature, small_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agreement, "TOLERANCE", 1e-12)
    result = armature("validate", small_bundle, "--limit", 1)
    assert result.exit_code == 1
    assert "DIFFERS" in result.stdout and "not valid" in result.stdout


def test_imagenet_layout(armature: Armature, small_bundle: Path, tmp_path: Path, images: Path) -> None:
    folder = tmp_path / "n02108422"  # bull mastiff
    folder.mkdir()
    shutil.copy(images / "imagenet_00_243.jpg", folder / "dog.jpg")
    report = document(armature("validate", small_bundle, "--data", tmp_path, "--json"))
    assert report["inputs"][0]["label"] == 243
    assert report["top1"] in (0, 1)


def test_unlabelled_images_have_no_accuracy(armature: Armature, small_bundle: Path, tmp_path: Path) -> None:
    Image.new("RGB", (120, 100), "teal").save(tmp_path / "plain.png")
    report = document(armature("validate", small_bundle, "--data", tmp_path, "--json"))
    assert report["images"] == 1 and report["top1"] is None and report["top5"] is None


def test_interrupt_leaves_no_process(small_bundle: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-m", "compile.cli", "validate", str(small_bundle)]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, cwd=tmp_path) as running:
        parent = psutil.Process(running.pid)
        agents = wait_for(lambda: [p for p in parent.children(recursive=True) if "qemu" in p.name()])
        running.send_signal(signal.SIGINT)
        _, errors = running.communicate(timeout=30)
    assert running.returncode == 130
    assert b"interrupted" in errors and b"Traceback" not in errors
    wait_for(lambda: not any(agent.is_running() for agent in agents))


class Nearest(torch.nn.Module):
    """A class map: of each pixel the likelier of two planes."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Conv2d(3, 5, 3, padding=1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.layer(image).argmax(1).to(torch.uint8)


def test_whole_numbers_are_compared_by_how_many_are_equal(armature, tmp_path):
    spec = "tests.e2e.test_validate:Nearest"
    result = armature(
        *("compile", spec, "--input", "image=1x3x24x24", "--cpu", "a53", "-o", tmp_path / "map"),
        *("--validate", "emulated"),
    )
    assert result.exit_code == 0, result.stderr
    assert "% equal" in result.stdout and "validated" in result.stdout
