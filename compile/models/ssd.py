"""SSDLite and SSD: detection in one pass (Liu et al., ECCV 2016), on our MobileNets.

Levels, anchors and their order are those of the authors' TensorFlow models (tensorflow/models,
research/object_detection).
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from compile.models import register_model
from compile.models._arguments import require_classes
from compile.models._layers import conv_bn
from compile.models.mobilenet_v1 import mobilenet_v1_features
from compile.models.mobilenet_v2 import Bottleneck, mobilenet_v2_features

_INPUT = (1, 3, 320, 320)
_PAPER = (
    "Liu et al., SSD: Single Shot MultiBox Detector, ECCV 2016; "
    "Sandler et al., MobileNetV2: Inverted Residuals and Linear Bottlenecks, CVPR 2018"
)
# The levels that follow the backbone's two, each of half the last one's size.
_FURTHER_LEVELS = (512, 256, 256, 128)

# (scale, width / height) of a pixel's anchors at each level; scale 1 is the side of the image.
_SCALES = (0.35, 0.5, 0.65, 0.8, 0.95, 1.0)
_RATIOS = (1.0, 2.0, 0.5, 3.0, 1 / 3)
_ANCHORS = (
    ((0.1, 1.0), (0.2, 2.0), (0.2, 0.5)),
    *(
        (*((scale, ratio) for ratio in _RATIOS), (math.sqrt(scale * larger), 1.0))
        for scale, larger in pairwise(_SCALES)
    ),
)


@register_model(task="detect", input_shape=_INPUT, paper=_PAPER)
def ssdlite_mobilenet_v1(num_classes: int = 80) -> nn.Module:
    """SSDLite on MobileNetV1: box deltas and class logits of each anchor.

    Counts are the paper's: 5.1M parameters and 1.3B multiply-adds.
    """
    require_classes("ssdlite_mobilenet_v1", num_classes)
    layers = mobilenet_v1_features()  # its first twelve make pixels 16 apart
    return SSD(layers[:12], layers[12:], (512, 1024), num_classes, is_lite=True)


@register_model(task="detect", input_shape=_INPUT, paper=_PAPER)
def ssdlite_mobilenet_v2(num_classes: int = 80) -> nn.Module:
    """SSDLite on MobileNetV2: box deltas and class logits of each anchor.

    Counts are the paper's: 4.3M parameters and 0.8B multiply-adds. What follows the backbone has the paper's
    2.1M parameters, but 0.18B multiply-adds where the paper prints 0.35B. That does not fit the paper's 0.8B
    for all, since the backbone alone has 0.61B.
    """
    require_classes("ssdlite_mobilenet_v2", num_classes)
    return _on_mobilenet_v2(num_classes, is_lite=True)


@register_model(task="detect", input_shape=_INPUT, paper=_PAPER)
def ssd_mobilenet_v2(num_classes: int = 80) -> nn.Module:
    """SSD on MobileNetV2: ssdlite_mobilenet_v2 with regular 3x3 convolutions, to compare.

    What follows the backbone has the paper's 14.8M parameters and 1.25B multiply-adds.
    """
    require_classes("ssd_mobilenet_v2", num_classes)
    return _on_mobilenet_v2(num_classes, is_lite=False)


def _on_mobilenet_v2(num_classes: int, is_lite: bool) -> SSD:
    """The first level is the expansion of layer 15, the last of pixels 16 apart."""
    layers = list(mobilenet_v2_features())
    block = layers[14]
    assert isinstance(block, Bottleneck)
    expand, *rest = block.conv
    low, high = nn.Sequential(*layers[:14], expand), nn.Sequential(*rest, *layers[15:])
    return SSD(low, high, (576, 1280), num_classes, is_lite)


class SSD(nn.Module):
    """Six levels of features, and at each pixel of each its anchors' boxes and classes.

    `low` makes the first level and `high`, from that, the second, of `channels`. Takes float32 (N, 3, H, W);
    returns box deltas (N, anchors, 4) and logits (N, anchors, 1 + num_classes), class 0 the background.
    Anchors follow one another by level, row, column, and as in _ANCHORS.
    """

    def __init__(
        self, low: nn.Module, high: nn.Module, channels: tuple[int, int], num_classes: int, is_lite: bool
    ) -> None:
        super().__init__()
        widths = (*channels, *_FURTHER_LEVELS)
        further = (_further_level(before, out, is_lite) for before, out in pairwise(widths[1:]))
        self.levels = nn.ModuleList([low, high, *further])
        self.boxes, self.scores = (
            nn.ModuleList(
                _predictor(width, len(anchors) * values, is_lite)
                for width, anchors in zip(widths, _ANCHORS, strict=True)
            )
            for values in (4, 1 + num_classes)
        )
        self.classes = 1 + num_classes

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        x, boxes, scores = image, [], []
        for level, box, score in zip(self.levels, self.boxes, self.scores, strict=True):
            x = level(x)
            boxes.append(_by_anchor(box(x), 4))
            scores.append(_by_anchor(score(x), self.classes))
        return torch.cat(boxes, 1), torch.cat(scores, 1)


def _further_level(channels: int, out: int, is_lite: bool) -> nn.Sequential:
    middle = out // 2
    squeeze = conv_bn(channels, middle)
    if not is_lite:
        return nn.Sequential(squeeze, conv_bn(middle, out, 3, stride=2))
    return nn.Sequential(squeeze, conv_bn(middle, middle, 3, stride=2, groups=middle), conv_bn(middle, out))


def _predictor(channels: int, out: int, is_lite: bool) -> nn.Module:
    if not is_lite:
        return nn.Conv2d(channels, out, 3, padding=1)
    return nn.Sequential(conv_bn(channels, channels, 3, groups=channels), nn.Conv2d(channels, out, 1))


def _by_anchor(planes: Tensor, values: int) -> Tensor:
    """(N, anchors * values, H, W) as (N, H * W * anchors, values)."""
    return planes.permute(0, 2, 3, 1).reshape(planes.shape[0], -1, values)
