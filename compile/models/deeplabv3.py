"""DeepLabV3: semantic segmentation by atrous convolution (Chen et al., 2017), on our classifiers."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from compile.models import register_model
from compile.models._arguments import require_classes
from compile.models._layers import conv_bn
from compile.models.mobilenet_v1 import mobilenet_v1_features
from compile.models.mobilenet_v2 import mobilenet_v2_features
from compile.models.resnet import ResNetFeatures

OutputStride = Literal[16, 8]

_INPUT = (1, 3, 513, 513)
_PAPER = (
    "Chen et al., Rethinking Atrous Convolution for Semantic Image Segmentation, 2017; "
    "Sandler et al., MobileNetV2: Inverted Residuals and Linear Bottlenecks, CVPR 2018"
)
_MOST_CLASSES = 256  # in uint8
_HEAD_CHANNELS = 256
# Dilations of the pyramid's (ASPP's) 3x3 convolutions at output stride 16; at 8 they are doubled.
_ASPP_RATES = (6, 12, 18)


@register_model(task="segment", input_shape=_INPUT, paper=_PAPER, labels="voc")
def deeplabv3_mobilenet_v1(
    num_classes: int = 21, output_stride: OutputStride = 16, aspp: bool = True
) -> nn.Module:
    """DeepLabV3 on MobileNetV1: the class of each pixel.

    Parameters are the paper's 11.15M with `aspp`. Its 14.25B multiply-adds are 12.76B here: see DeepLabV3.
    """
    require_classes("deeplabv3_mobilenet_v1", num_classes, _MOST_CLASSES)
    features = mobilenet_v1_features(output_stride=output_stride)
    return DeepLabV3(features, 1024, num_classes, _rates(output_stride, aspp))


@register_model(task="segment", input_shape=_INPUT, paper=_PAPER, labels="voc")
def deeplabv3_mobilenet_v2(
    num_classes: int = 21, output_stride: OutputStride = 16, aspp: bool = False
) -> nn.Module:
    """DeepLabV3 on MobileNetV2, to its 320 channels: the class of each pixel.

    Counts are the paper's: 2.11M parameters and 2.75B multiply-adds at 513 pixels; with `aspp` its 4.52M, but
    5.36B instead of 5.8B: see DeepLabV3.
    """
    require_classes("deeplabv3_mobilenet_v2", num_classes, _MOST_CLASSES)
    features = mobilenet_v2_features(output_stride=output_stride)[:-1]
    return DeepLabV3(features, 320, num_classes, _rates(output_stride, aspp))


@register_model(task="segment", input_shape=_INPUT, paper=_PAPER, labels="voc")
def deeplabv3_resnet101(
    num_classes: int = 21, output_stride: OutputStride = 16, aspp: bool = True
) -> nn.Module:
    """DeepLabV3 on ResNet-101: the class of each pixel.

    Parameters are the paper's 58.16M within 1%. Its 81.0B multiply-adds are 71.1B here: 2.9B of the rest is
    what DeepLabV3 says; for 7.1B its authors' ResNet begins with three 3x3 convolutions of 64, 64 and 128
    channels (tensorflow/models, research/deeplab/core/resnet_v1_beta.py), where ours keeps resnet101's 7x7.
    """
    require_classes("deeplabv3_resnet101", num_classes, _MOST_CLASSES)
    features = ResNetFeatures(output_stride)
    return DeepLabV3(features, features.channels, num_classes, _rates(output_stride, aspp))


class DeepLabV3(nn.Module):
    """Features, a head of parallel branches, and the class of each pixel of the input.

    The branches are the image's mean, a 1x1 convolution and, for each of `rates`, an atrous 3x3 convolution.
    Takes float32 (N, 3, H, W); returns classes uint8 (N, H, W).

    With `rates` the paper counts more multiply-adds. They fit atrous convolutions of 36x36 pixels, not of the
    33x33 that 513 become at output stride 16: TensorFlow takes each apart into dense ones, and pads their
    inputs to equal sizes.
    """

    def __init__(self, features: nn.Module, channels: int, num_classes: int, rates: tuple[int, ...]) -> None:
        super().__init__()
        self.features = features
        self.image_pooling = _conv(channels, 1)
        self.branches = nn.ModuleList(
            [_conv(channels, 1), *(_conv(channels, 3, dilation=rate) for rate in rates)]
        )
        self.project = _conv(_HEAD_CHANNELS * (2 + len(rates)), 1)
        self.classes = nn.Conv2d(_HEAD_CHANNELS, num_classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        x = self.features(image)
        pooled = self.image_pooling(functional.adaptive_avg_pool2d(x, (1, 1)))
        spread = _resize(pooled, x)
        x = self.project(torch.cat([spread, *(branch(x) for branch in self.branches)], 1))
        return _resize(self.classes(x), image).argmax(1).to(torch.uint8)


def _conv(channels: int, kernel: int, dilation: int = 1) -> nn.Sequential:
    return conv_bn(channels, _HEAD_CHANNELS, kernel, dilation=dilation, activation=nn.ReLU)


def _resize(x: Tensor, like: Tensor) -> Tensor:
    """Corners stay corners, as for the authors, whose sizes are multiples of the output stride and one."""
    return functional.interpolate(x, like.shape[-2:], mode="bilinear", align_corners=True)


def _rates(output_stride: int, aspp: bool) -> tuple[int, ...]:
    return tuple(rate * 16 // output_stride for rate in _ASPP_RATES) if aspp else ()
