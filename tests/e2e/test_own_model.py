"""The user's own network, by `module:callable` and as a .pt2 file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.e2e.conftest import Armature, document

pytestmark = pytest.mark.emulator


class SmallNet(nn.Module):
    """Odd channel counts and sizes, a shortcut, a pool, and two outputs on request."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, channels, 3, 2, 1), nn.BatchNorm2d(channels), nn.ReLU6())
        self.depthwise = nn.Conv2d(channels, channels, 5, padding=2, groups=channels)
        self.pointwise = nn.Conv2d(channels, channels, 1)
        self.head = nn.Linear(channels, 11)

    def forward(self, picture: Tensor) -> Tensor:
        x = self.stem(picture)
        x = x + self.pointwise(torch.relu(self.depthwise(x)))
        return self.head(nn.functional.max_pool2d(x, 3, 2, 1).mean((2, 3)))


def small_net(channels: int = 13) -> nn.Module:
    """What the user's module holds."""
    return SmallNet(channels)


def sums() -> nn.Module:
    """A network that takes no image."""
    return nn.Sequential(nn.Conv2d(2, 5, 3), nn.Hardswish())


class Spectrum(nn.Module):
    """An operator that TVM has no translation for."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.linalg.svdvals(x)


class Choice(nn.Module):
    """A path that depends on the data."""

    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum().item() > 0 else -x


class Places(nn.Module):
    """A result whose shape depends on the data."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.nonzero(x)


def test_module_and_callable(armature: Armature, tmp_path: Path) -> None:
    result = armature(
        *("compile", f"{__name__}:small_net", "--arg", "channels=13", "--input", "picture=1x3x33x47"),
        *("--cpu", "cortex-a53", "-o", tmp_path / "out", "--validate", "emulated", "--json"),
    )
    assert result.exit_code == 0, result.stderr
    report = document(result)["validation"]
    assert report["images"] == report["top1_agreement"] == 20
    outputs = {tuple(row["device_top5"]) for row in report["inputs"]}
    assert len(outputs) > 1, "every image gave the same answer: the check proves nothing"


def test_exported_program(armature: Armature, tmp_path: Path) -> None:
    torch.manual_seed(1)
    program = torch.export.export(small_net().eval(), (torch.randn(1, 3, 40, 40),))
    torch.export.save(program, tmp_path / "net.pt2")
    compiled = armature("compile", tmp_path / "net.pt2", "--cpu", "a72", "-o", tmp_path / "out")
    assert compiled.exit_code == 0, compiled.stderr
    report = document(armature("validate", tmp_path / "out", "--limit", 3, "--json"))
    assert report["passed"] and report["images"] == 3


def test_no_image_is_validated_on_random_tensors(armature: Armature, tmp_path: Path) -> None:
    result = armature(
        *("compile", f"{__name__}:sums", "--input", "input=2x2x9x11", "-o", tmp_path / "out"),
        *("--validate", "emulated", "--json"),
    )
    assert result.exit_code == 0, result.stderr
    report = document(result)["validation"]
    assert report["passed"] and "top1" not in report


@pytest.mark.parametrize(
    ("model", "operator"), [("Spectrum", "linalg_svd"), ("Choice", "aten.item"), ("Places", "nonzero")]
)
def test_unsupported_operator_is_named(armature: Armature, tmp_path: Path, model: str, operator: str) -> None:
    result = armature("compile", f"{__name__}:{model}", "--input", "x=1x3x8x8", "-o", tmp_path / "out")
    assert result.exit_code == 2
    assert operator in result.stderr and "Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_changed_weights_are_noticed(armature: Armature, tmp_path: Path) -> None:
    def save(seed: int) -> None:
        torch.manual_seed(seed)
        torch.save(small_net().state_dict(), tmp_path / "net.pth")

    save(1)
    model = (f"{__name__}:small_net", "--weights", tmp_path / "net.pth", "--input", "picture=1x3x24x24")
    assert armature("compile", *model, "-o", tmp_path / "out").exit_code == 0
    save(2)
    result = armature("validate", tmp_path / "out")
    assert result.exit_code == 2 and "other weights" in result.stderr
