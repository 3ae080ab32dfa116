"""The C library for this machine: run natively, and held against PyTorch."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from compile.frontend import trace
from compile.source import Source
from targets.host import host_core
from targets.platforms import host_platform
from tests.e2e.conftest import Armature
from tests.e2e.test_c_library import ECHO, ODD_CHANNELS, OUTPUTS, SOFTMAX, user_of

# Windows over all channels at each stride, beside the image and dilated; dense layers of odd sizes.
DENSE = (f"{__name__}:dense", "--input", "input=1x3x29x31")


def dense() -> torch.nn.Module:
    """A network of convolutions that are no depthwise, and of dense layers."""
    torch.manual_seed(0)
    layers = torch.nn
    return layers.Sequential(
        *(layers.Conv2d(3, 13, 3, stride=2, padding=1), layers.ReLU()),
        *(layers.Conv2d(13, 24, 3, padding=2, dilation=2), layers.ReLU6()),
        *(layers.Conv2d(24, 24, 3, padding=1, groups=3), layers.Flatten()),
        *(layers.Linear(24 * 15 * 16, 37), layers.ReLU(), layers.Linear(37, 10)),
    )


def compiled(armature: Armature, folder: Path, model: Sequence[str]) -> Path:
    """The folder with the library that `model` becomes for this machine."""
    result = armature("compile", *model, "--target", "host", "-o", folder)
    assert result.exit_code == 0, result.stderr
    return folder


def manifest_of(folder: Path) -> dict[str, Any]:
    """What the folder says of itself."""
    manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
    return manifest


def close(ours: NDArray[Any], theirs: NDArray[Any]) -> bool:
    """Whether they are equal to 1e-3 of the largest number."""
    return bool(np.abs(ours.astype(np.float64) - theirs).max() <= 1e-3 * max(np.abs(theirs).max(), 1e-6))


NETWORKS = {
    "odd": ODD_CHANNELS,
    "outputs": OUTPUTS,
    "echo": ECHO,
    "softmax": SOFTMAX,
    "dense": DENSE,
}


@pytest.mark.parametrize("model", NETWORKS.values(), ids=NETWORKS)
def test_a_c_program_gives_pytorchs_numbers(
    armature: Armature, tmp_path: Path, model: tuple[str, ...]
) -> None:
    folder = compiled(armature, tmp_path / "out", model)
    manifest = manifest_of(folder)
    assert manifest["core"]["name"] == host_core().name and manifest["platform"] == host_platform().name
    (row,) = manifest["inputs"]
    image = np.random.default_rng(7).standard_normal(row["shape"], np.float32)
    image.tofile(tmp_path / "image.bin")
    user = user_of(folder, host_platform().zig)
    done = subprocess.run([user, tmp_path / "ours.bin", tmp_path / "image.bin"], capture_output=True)
    assert done.returncode == 0, done.stderr
    theirs = trace(Source.from_json(manifest["source"])).reference(image)
    content, at = (tmp_path / "ours.bin").read_bytes(), 0
    for expected in theirs:
        ours = np.frombuffer(content, expected.dtype, expected.size, at).reshape(expected.shape)
        at += ours.nbytes
        assert close(ours, expected)
    assert at == len(content)


@pytest.mark.parametrize(
    ("options", "named"),
    [(("--cpu", "a53"), "a53"), (("--format", "both"), "--format"), (("--validate", "emulated"), "bundle")],
)
def test_what_does_not_go_with_the_host(
    armature: Armature, tmp_path: Path, options: tuple[str, ...], named: str
) -> None:
    result = armature("compile", "mobilenet_v2", "--target", "host", *options, "-o", tmp_path / "out")
    assert result.exit_code == 2 and named in result.stderr
    assert list(tmp_path.iterdir()) == []
