"""Users' networks whose layers no registered network has, on the board of two cores against PyTorch."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from compile.bundle import open_bundle
from compile.frontend import trace
from compile.pipeline import compile_model
from compile.random_weights import structured_inputs
from compile.source import Source
from targets.cores import find_core

pytestmark = pytest.mark.emulator


def layer(
    inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1, padding: int | None = None
) -> nn.Sequential:
    """A convolution and batch norm."""
    around = kernel // 2 if padding is None else padding
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, around, groups=groups, bias=False), nn.BatchNorm2d(outputs)
    )


class Excited(nn.Module):
    """An inverted residual as of MobileNetV3: 5x5, squeeze-and-excite, hard-swish."""

    def __init__(self, channels: int, middle: int) -> None:
        super().__init__()
        self.expand = nn.Sequential(layer(channels, middle), nn.Hardswish())
        self.depthwise = nn.Sequential(layer(middle, middle, 5, groups=middle), nn.Hardswish())
        self.squeeze = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(middle, middle // 4, 1),
            nn.ReLU(),
            nn.Conv2d(middle // 4, middle, 1),
            nn.Hardsigmoid(),
        )
        self.project = layer(middle, channels)

    def forward(self, x: Tensor) -> Tensor:
        """[N, channels, H, W] of the same shape."""
        middle = self.depthwise(self.expand(x))
        return x + self.project(middle * self.squeeze(middle))


class Squeezed(nn.Module):
    """A classifier with squeeze-and-excite and hard-swish."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(layer(3, 20, 3, 2), nn.Hardswish())
        self.blocks = nn.Sequential(Excited(20, 52), Excited(20, 60))
        self.last = nn.Sequential(layer(20, 72, 3, 2), nn.Hardswish(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(72, 17)

    def forward(self, image: Tensor) -> Tensor:
        """[N, 3, H, W] -> [N, 17]."""
        return self.head(self.last(self.blocks(self.stem(image))))


class Hourglass(nn.Module):
    """An encoder and a decoder: transposed convolutions, a skip joined to it, bilinear upsampling."""

    def __init__(self) -> None:
        super().__init__()
        self.fine = nn.Sequential(layer(3, 14, 3, 2), nn.ReLU6())
        self.coarse = nn.Sequential(layer(14, 28, 3, 2), nn.ReLU6(), layer(28, 28, 3), nn.ReLU6())
        self.up = nn.Sequential(nn.ConvTranspose2d(28, 18, 4, 2, 1), nn.ReLU())
        self.overlapping = nn.ConvTranspose2d(32, 12, 3, 2, 1, output_padding=1)
        self.head = nn.Conv2d(12, 5, 1)

    def forward(self, image: Tensor) -> Tensor:
        """[N, 3, H, W] -> [N, 5, H, W]; H and W are multiples of four."""
        fine = self.fine(image)
        joined = torch.cat([self.up(self.coarse(fine)), fine], 1)
        half = F.interpolate(joined, scale_factor=0.5, mode="bilinear", align_corners=False)
        detail = self.head(torch.relu(self.overlapping(half)))
        return F.interpolate(detail, size=image.shape[2:], mode="bilinear", align_corners=True)


class Lopsided(nn.Module):
    """TensorFlow's "same" padding, which at stride 2 is on the right and below only, and 5x5 depthwise."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), layer(3, 18, 3, 2, padding=0), nn.SiLU())
        self.first = self._block(18, 30, stride=2)
        self.second = self._block(30, 44, stride=1)
        self.head = nn.Linear(44, 13)

    @staticmethod
    def _block(inputs: int, outputs: int, stride: int) -> nn.Sequential:
        middle = 3 * inputs
        padding = (1, 2, 1, 2) if stride == 2 else (2, 2, 2, 2)
        return nn.Sequential(
            *(layer(inputs, middle), nn.SiLU(), nn.ZeroPad2d(padding)),
            *(layer(middle, middle, 5, stride, middle, padding=0), nn.SiLU(), layer(middle, outputs)),
        )

    def forward(self, image: Tensor) -> Tensor:
        """[N, 3, H, W] -> [N, 13]."""
        return self.head(self.second(self.first(self.stem(image))).mean((2, 3)))


@pytest.mark.parametrize("core", ["cortex-a53", "cortex-a76"])
@pytest.mark.parametrize(
    ("name", "size"), [("Squeezed", (50, 66)), ("Hourglass", (44, 52)), ("Lopsided", (64, 48))]
)
def test_agrees_with_pytorch_and_tells_images_apart(
    name: str, size: tuple[int, int], core: str, tmp_path: Path
) -> None:
    shape = (1, 3, *size)
    source = Source(f"{__name__}:{name}", weights="random:0", inputs={"image": shape})
    compile_model(source, find_core(core), tmp_path / "out", contextlib.nullcontext)
    bundle = open_bundle(tmp_path / "out")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        images = structured_inputs((2, *shape[1:])).numpy()
    with bundle.loaded_on("emulated") as (_, program):
        found = [program.run(images[at : at + 1])[0] for at in range(2)]
    expected = [trace(source).reference(images[at : at + 1])[0] for at in range(2)]
    scale = max(float(np.abs(each).max()) for each in expected)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-3 * scale, rtol=0)
    assert np.abs(found[0] - found[1]).max() > 0.1 * scale
