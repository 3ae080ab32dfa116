"""One kernel of every kind, scheduled by default, on four cores, as CSV.

    python -m bench.kinds [--cores a53,a55,a72,a76] [--output docs/kinds.csv]

Each is found in a network of a few layers, as it is compiled. Misses are counted on the emulated board;
cycles are estimated (docs/timing.md): `core` ones have every access hit the first-level cache.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.kernels import cells, report
from bench.options import cores_and_output
from compile.lower import lower
from compile.source import Shape, Source


class Applied(nn.Module):
    """A function or a network of one tensor, whose name is `image`."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, image: Tensor) -> Tensor:
        """What the function makes of [1, channels, height, width]."""
        return self.function(image)


class Beside(nn.Module):
    """Two convolutions of the same tensor, their channels one behind the other."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.one, self.other = (nn.Conv2d(channels, channels, 1) for _ in range(2))

    def forward(self, image: Tensor) -> Tensor:
        """[1, channels, height, width] -> [1, 2 channels, height, width]."""
        both: Tensor = torch.relu(torch.cat([self.one(image), self.other(image)], 1))
        return both


@dataclass(frozen=True)
class Example:
    """A network of which a kernel of `kind` is looked at."""

    kind: str
    build: Callable[[], nn.Module]
    shape: Shape


def conv(
    inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, dilation: int = 1
) -> nn.Module:
    """A convolution that keeps the size, and ReLU6."""
    padding = kernel // 2 * dilation
    return nn.Sequential(nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, groups), nn.ReLU6())


def bottleneck(inputs: int, middle: int, outputs: int, stride: int) -> nn.Module:
    """An inverted residual without its shortcut."""
    return nn.Sequential(
        conv(inputs, middle, 1), conv(middle, middle, 3, stride, middle), nn.Conv2d(middle, outputs, 1)
    )


def to_size(size: int) -> Callable[[Tensor], Tensor]:
    """Bilinear resizing."""
    return lambda image: F.interpolate(image, (size, size), mode="bilinear", align_corners=False)


EXAMPLES = {
    "pointwise 14x14x96 -> 576": Example("pointwise", lambda: conv(96, 576, 1), (1, 96, 14, 14)),
    "pointwise 33x33x320 -> 256": Example("pointwise", lambda: conv(320, 256, 1), (1, 320, 33, 33)),
    "pointwise 3x3x512 -> 128": Example("pointwise", lambda: conv(512, 128, 1), (1, 512, 3, 3)),
    "depthwise 28x28x192 3x3": Example("depthwise", lambda: conv(192, 192, 3, 1, 192), (1, 192, 28, 28)),
    "depthwise 28x28x192 3x3, stride 2": Example(
        "depthwise", lambda: conv(192, 192, 3, 2, 192), (1, 192, 28, 28)
    ),
    "depthwise 33x33x576 3x3, dilation 2": Example(
        "depthwise", lambda: conv(576, 576, 3, 1, 576, 2), (1, 576, 33, 33)
    ),
    "depthwise 14x14x240 5x5": Example("depthwise", lambda: conv(240, 240, 5, 1, 240), (1, 240, 14, 14)),
    "stem 224x224x3 -> 32 3x3, stride 2": Example("stem", lambda: conv(3, 32, 3, 2), (1, 3, 224, 224)),
    "conv 28x28x64 -> 64 3x3": Example(
        "conv", lambda: nn.Sequential(conv(64, 64, 1), conv(64, 64, 3)), (1, 64, 28, 28)
    ),
    "conv 19x19x64 -> 64 3x3": Example(
        "conv", lambda: nn.Sequential(conv(64, 64, 1), conv(64, 64, 3)), (1, 64, 19, 19)
    ),
    "conv 28x28x240 -> 240 1x1, 3 groups": Example(
        "conv", lambda: nn.Sequential(conv(64, 240, 1), conv(240, 240, 1, 1, 3)), (1, 64, 28, 28)
    ),
    "dense 1280 -> 1000": Example("dense", lambda: nn.Linear(1280, 1000), (1, 1280)),
    "bottleneck 28x28x32 -> 192 -> 32": Example(
        "bottleneck", lambda: bottleneck(32, 192, 32, 1), (1, 32, 28, 28)
    ),
    "bottleneck 28x28x32 -> 192 -> 64, stride 2": Example(
        "bottleneck", lambda: bottleneck(32, 192, 64, 2), (1, 32, 28, 28)
    ),
    "pool 112x112x64 max 3x3, stride 2": Example(
        "pool", lambda: nn.Sequential(conv(16, 64, 1), nn.MaxPool2d(3, 2, 1)), (1, 16, 112, 112)
    ),
    "pool 7x7x1280 mean": Example(
        "pool", lambda: nn.Sequential(conv(320, 1280, 1), nn.AdaptiveAvgPool2d(1)), (1, 320, 7, 7)
    ),
    "resize 33x33x256 -> 65x65": Example(
        "resize",
        lambda: nn.Sequential(conv(64, 256, 1), Applied(to_size(65)), conv(256, 32, 1)),
        (1, 64, 33, 33),
    ),
    "argmax 33x33x21 -> 513x513": Example(
        "argmax",
        lambda: nn.Sequential(
            conv(64, 21, 1), Applied(lambda image: to_size(513)(image).argmax(1).to(torch.uint8))
        ),
        (1, 64, 33, 33),
    ),
    "planar 33x33x21 -> 513x513": Example(
        "planar", lambda: nn.Sequential(conv(64, 21, 1), Applied(to_size(513))), (1, 64, 33, 33)
    ),
    "concat 28x28x(64 + 64)": Example("concat", lambda: Beside(64), (1, 64, 28, 28)),
    "interleave 28x28x240, 3 groups": Example(
        "interleave",
        lambda: nn.Sequential(
            conv(64, 240, 1), conv(240, 240, 1, 1, 3), nn.ChannelShuffle(3), conv(240, 240, 3, 1, 240)
        ),
        (1, 64, 28, 28),
    ),
}
FIELDS = ("% of peak", "core cycles", "cycles", "L1D misses", "L2 misses")


def network(name: str) -> nn.Module:
    """The network of an example, for Source."""
    return Applied(EXAMPLES[name].build())


def measured(name: str, core: str) -> list[str]:
    """What FIELDS names, of the example's kernel."""
    example = EXAMPLES[name]
    source = Source("bench.kinds:network", {"name": name}, inputs={"image": example.shape})
    found = report(core, lower, source)
    row = next((row for row in found.kernels if row.kind == example.kind), None)
    if row is None:
        raise RuntimeError(
            f"{name}: compiled to {', '.join(each.kind or each.name for each in found.kernels)}"
        )
    return cells(found, row, row.core_cycles, row.cycles, row.l1_misses, row.l2_misses)


def main() -> None:
    """Write the table."""
    chosen, output = cores_and_output(__doc__, "docs/kinds.csv")
    cores = [core.name for core in chosen]
    with output.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["kernel", *(f"{core} {field}" for core in cores for field in FIELDS)])
        for name in EXAMPLES:
            figures = [measured(name, core) for core in cores]
            writer.writerow([name, *(cell for each in figures for cell in each)])
            file.flush()
            print(
                f"{name}: "
                + ", ".join(
                    f"{core} {each[0] or '-'} {each[1]}" for core, each in zip(cores, figures, strict=True)
                )
            )


if __name__ == "__main__":
    main()
