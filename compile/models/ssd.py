"""SSDLite and SSD: detection in one pass (Liu et al., ECCV 2016), on our MobileNets.

Levels, anchors and their order are those of the authors' TensorFlow models (tensorflow/models,
research/object_detection).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from compile.detections import OUTPUTS, detections
from compile.models import register_model
from compile.models._anchors import anchor_boxes, anchors_by_level
from compile.models._arguments import require_classes
from compile.models._layers import Padding, conv_bn
from compile.models._ssd_weights import PERSON
from compile.models.mobilenet_v1 import mobilenet_v1_features
from compile.models.mobilenet_v2 import Bottleneck, mobilenet_v2_features
from targets.errors import UserError

_INPUT = (1, 3, 320, 320)
_PAPER = (
    "Liu et al., SSD: Single Shot MultiBox Detector, ECCV 2016; "
    "Sandler et al., MobileNetV2: Inverted Residuals and Linear Bottlenecks, CVPR 2018"
)
# The levels that follow the backbone's two, each of half the last one's size.
_FURTHER_LEVELS = (512, 256, 256, 128)


@dataclass(frozen=True)
class Output:
    """What a detector tells, and which of its anchors' boxes count (compile/detections.py)."""

    num_classes: int
    min_scale: float
    max_scale: float
    score_threshold: float
    iou_threshold: float
    max_detections: int
    raw: bool

    def check(self, model: str) -> Output:
        """Itself; UserError for a value that means nothing."""
        require_classes(model, self.num_classes)
        if not 0 < self.min_scale <= self.max_scale <= 1:
            raise UserError(
                f"{model} has no anchors from {self.min_scale} to {self.max_scale} of the image: give "
                "min_scale and max_scale above 0, up to 1."
            )
        if not (0 <= self.score_threshold < 1 and 0 <= self.iou_threshold <= 1):
            raise UserError(
                f"{model} cannot use score_threshold={self.score_threshold} and "
                f"iou_threshold={self.iou_threshold}: give 0 to below 1, and 0 to 1."
            )
        if self.max_detections < 1:
            raise UserError(f"{model} cannot give {self.max_detections} detections: give 1 or more.")
        return self


@register_model(task="detect", input_shape=_INPUT, paper=_PAPER, labels="coco")
def ssdlite_mobilenet_v1(
    num_classes: int = 80,
    min_scale: float = 0.2,
    max_scale: float = 0.95,
    score_threshold: float = 0.05,
    iou_threshold: float = 0.6,
    max_detections: int = 100,
    raw: bool = False,
) -> nn.Module:
    """SSDLite on MobileNetV1: boxes with their classes.

    Counts are the paper's: 5.1M parameters and 1.3B multiply-adds.
    """
    output = Output(
        num_classes, min_scale, max_scale, score_threshold, iou_threshold, max_detections, raw
    ).check("ssdlite_mobilenet_v1")
    layers = mobilenet_v1_features()  # its first twelve make pixels 16 apart
    return SSD(layers[:12], layers[12:], (512, 1024), output, is_lite=True)


@register_model(task="detect", input_shape=_INPUT, paper=_PAPER, weights={"person": PERSON}, labels="coco")
def ssdlite_mobilenet_v2(
    num_classes: int = 80,
    min_scale: float = 0.2,
    max_scale: float = 0.95,
    score_threshold: float = 0.05,
    iou_threshold: float = 0.6,
    max_detections: int = 100,
    raw: bool = False,
    padding: Padding = "symmetric",
) -> nn.Module:
    """SSDLite on MobileNetV2: boxes with their classes.

    Counts are the paper's: 4.3M parameters and 0.8B multiply-adds. What follows the backbone has the paper's
    2.1M parameters, but 0.18B multiply-adds where the paper prints 0.35B. That does not fit the paper's 0.8B
    for all, since the backbone alone has 0.61B.
    """
    output = Output(
        num_classes, min_scale, max_scale, score_threshold, iou_threshold, max_detections, raw
    ).check("ssdlite_mobilenet_v2")
    return _on_mobilenet_v2(output, is_lite=True, padding=padding)


@register_model(task="detect", input_shape=_INPUT, paper=_PAPER, labels="coco")
def ssd_mobilenet_v2(
    num_classes: int = 80,
    min_scale: float = 0.2,
    max_scale: float = 0.95,
    score_threshold: float = 0.05,
    iou_threshold: float = 0.6,
    max_detections: int = 100,
    raw: bool = False,
) -> nn.Module:
    """SSD on MobileNetV2: ssdlite_mobilenet_v2 with regular 3x3 convolutions, to compare.

    What follows the backbone has the paper's 14.8M parameters and 1.25B multiply-adds.
    """
    output = Output(
        num_classes, min_scale, max_scale, score_threshold, iou_threshold, max_detections, raw
    ).check("ssd_mobilenet_v2")
    return _on_mobilenet_v2(output, is_lite=False)


def _on_mobilenet_v2(output: Output, is_lite: bool, padding: Padding = "symmetric") -> SSD:
    """The first level is the expansion of layer 15, the last of pixels 16 apart."""
    layers = list(mobilenet_v2_features(padding=padding))
    block = layers[14]
    assert isinstance(block, Bottleneck)
    expand, *rest = block.conv
    low, high = nn.Sequential(*layers[:14], expand), nn.Sequential(*rest, *layers[15:])
    return SSD(low, high, (576, 1280), output, is_lite, padding)


class SSD(nn.Module):
    """Six levels of features, and at each pixel of each its anchors' boxes and classes.

    `low` makes the first level and `high`, from that, the second, of `channels`. Takes float32 (N, 3, H, W);
    returns the `boxes`, `scores`, `labels` and `count` of compile.detections, or, with `output.raw`, the
    `deltas` (N, anchors, 4) and `logits` (N, anchors, 1 + num_classes) that they are made of. Anchors follow
    one another by level, row, column, and as in compile/models/_anchors.py.
    """

    def __init__(
        self,
        low: nn.Module,
        high: nn.Module,
        channels: tuple[int, int],
        output: Output,
        is_lite: bool,
        padding: Padding = "symmetric",
    ) -> None:
        super().__init__()
        self.output = output
        self.anchors = anchors_by_level(output.min_scale, output.max_scale)
        self.classes = 1 + output.num_classes
        widths = (*channels, *_FURTHER_LEVELS)
        further = (_further_level(before, out, is_lite, padding) for before, out in pairwise(widths[1:]))
        self.levels = nn.ModuleList([low, high, *further])
        self.boxes, self.scores = (
            nn.ModuleList(
                _predictor(width, len(anchors) * values, is_lite)
                for width, anchors in zip(widths, self.anchors, strict=True)
            )
            for values in (4, self.classes)
        )

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        x, boxes, scores, grids = image, [], [], []
        for level, box, score in zip(self.levels, self.boxes, self.scores, strict=True):
            x = level(x)
            boxes.append(_by_anchor(box(x), 4))
            scores.append(_by_anchor(score(x), self.classes))
            grids.append((x.shape[2], x.shape[3]))
        deltas, logits = torch.cat(boxes, 1), torch.cat(scores, 1)
        if self.output.raw:
            return {"deltas": deltas, "logits": logits}
        anchors = anchor_boxes(self.anchors, grids, (image.shape[2], image.shape[3]))
        rules = self.output
        found = detections(
            deltas,
            logits,
            torch.tensor(anchors, device=deltas.device),
            rules.score_threshold,
            rules.iou_threshold,
            rules.max_detections,
        )
        return dict(zip(OUTPUTS, found, strict=True))


def _further_level(channels: int, out: int, is_lite: bool, padding: Padding) -> nn.Sequential:
    middle = out // 2
    squeeze = conv_bn(channels, middle)
    if not is_lite:
        return nn.Sequential(squeeze, conv_bn(middle, out, 3, stride=2, padding=padding))
    depthwise = conv_bn(middle, middle, 3, stride=2, groups=middle, padding=padding)
    return nn.Sequential(squeeze, depthwise, conv_bn(middle, out))


def _predictor(channels: int, out: int, is_lite: bool) -> nn.Module:
    if not is_lite:
        return nn.Conv2d(channels, out, 3, padding=1)
    return nn.Sequential(conv_bn(channels, channels, 3, groups=channels), nn.Conv2d(channels, out, 1))


def _by_anchor(planes: Tensor, values: int) -> Tensor:
    """(N, anchors * values, H, W) as (N, H * W * anchors, values)."""
    return planes.permute(0, 2, 3, 1).reshape(planes.shape[0], -1, values)
