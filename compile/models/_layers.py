"""What the families share: layers, rounded widths, output strides, and what a classifier ends with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from torch import Tensor, nn
from torch.nn import functional


def round_channels(channels: float) -> int:
    """The nearest multiple of 8 that is not below 90% of `channels`, at least 8."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * channels else rounded + 8


def conv_bn(
    channels: int,
    out: int,
    kernel: int = 1,
    *,
    stride: int = 1,
    groups: int = 1,
    dilation: int = 1,
    activation: Callable[[], nn.Module] | None = nn.ReLU6,
) -> nn.Sequential:
    """Convolution, batch norm and activation; padded such that stride 1 keeps the size."""
    padding = kernel // 2 * dilation
    layers = [
        nn.Conv2d(channels, out, kernel, stride, padding, dilation, groups, bias=False),
        nn.BatchNorm2d(out),
    ]
    return nn.Sequential(*layers, *([activation()] if activation else []))


def atrous(strides: Iterable[int], output_stride: int) -> Iterator[tuple[int, int]]:
    """(stride, dilation) for each layer's stride, such that their product stays within `output_stride`.

    A layer that would go beyond it keeps every pixel, and those after it read pixels further apart instead:
    each weight meets what it would have met (Chen et al., DeepLabV3, 2017, section 3.1).
    """
    reached = dilation = 1
    for stride in strides:
        if reached * stride <= output_stride:
            reached *= stride
            yield stride, dilation
        else:
            yield 1, dilation
            dilation *= stride


class Classifier(nn.Module):
    """`features`, global average pool and a dense layer.

    Takes float32 (N, 3, H, W); returns logits (N, num_classes).
    """

    def __init__(self, features: nn.Module, channels: int, num_classes: int, dropout: float) -> None:
        super().__init__()
        self.features = features
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(channels, num_classes))

    def forward(self, image: Tensor) -> Tensor:
        pooled = functional.adaptive_avg_pool2d(self.features(image), (1, 1))
        logits: Tensor = self.classifier(pooled.flatten(1))
        return logits
