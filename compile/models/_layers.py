"""What the families share: layers, rounded widths, output strides, and what a classifier ends with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

Padding = Literal["symmetric", "same"]
"""How a convolution of stride 2 meets the border: `symmetric` as in PyTorch, `same` as in TensorFlow, where a
3x3 window over an even number of pixels begins at the first one and is padded after the last.
"""


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
    padding: Padding = "symmetric",
) -> nn.Sequential:
    """Convolution, batch norm and activation; padded such that stride 1 keeps the size."""
    if padding == "same" and stride > 1:
        conv: nn.Conv2d = SameConv2d(channels, out, kernel, stride, 0, dilation, groups, bias=False)
    else:
        conv = nn.Conv2d(channels, out, kernel, stride, kernel // 2 * dilation, dilation, groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out), *([activation()] if activation else []))


class SameConv2d(nn.Conv2d):
    """A convolution padded as TensorFlow's SAME: n / stride outputs, rounded up, the odd zero at the end."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(functional.pad(x, (*self._zeros(x, 1), *self._zeros(x, 0))))

    def _zeros(self, x: Tensor, axis: int) -> tuple[int, int]:
        """Before and after, along the height (0) or the width (1)."""
        extent, stride = x.shape[2 + axis], self.stride[axis]
        reach = (self.kernel_size[axis] - 1) * self.dilation[axis] + 1
        zeros = max((-(-extent // stride) - 1) * stride + reach - extent, 0)
        return zeros // 2, zeros - zeros // 2


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
