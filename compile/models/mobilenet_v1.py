"""MobileNetV1: depthwise separable convolutions (Howard et al., 2017)."""

from __future__ import annotations

from torch import nn

from compile.models import register_model
from compile.models._arguments import require_classes, require_width
from compile.models._layers import Classifier, atrous, conv_bn, round_channels

_STEM_CHANNELS = 32
# The paper's Table 1: output channels and stride of each depthwise separable convolution.
_SEPARABLE = (
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    *[(512, 1)] * 5,
    (1024, 2),
    (1024, 1),
)
_DROPOUT = 0.001


@register_model(
    task="classify",
    input_shape=(1, 3, 224, 224),
    labels="imagenet",
    paper="Howard et al., MobileNets: Efficient Convolutional Neural Networks for Mobile Vision "
    "Applications, 2017",
)
def mobilenet_v1(width: float = 1.0, num_classes: int = 1000) -> nn.Module:
    """MobileNetV1, an ImageNet classifier of any input size.

    `width` is 0.25 to 1.0, and any between. Counts are the paper's: 4.2M parameters and 569M multiply-adds at
    width 1.0, which MobileNetV2's paper prints as 575M. Activations are ReLU6, as in its authors' code
    (tensorflow/models, research/slim/nets/mobilenet_v1.py); the paper says ReLU.
    """
    require_width("mobilenet_v1", width, 0.25, 1.0)
    require_classes("mobilenet_v1", num_classes)
    return MobileNetV1(width, num_classes)


class MobileNetV1(Classifier):
    """Stem, 13 depthwise separable convolutions, global average pool and a dense layer."""

    def __init__(self, width: float, num_classes: int) -> None:
        last = round_channels(_SEPARABLE[-1][0] * width)
        super().__init__(mobilenet_v1_features(width), last, num_classes, _DROPOUT)


def mobilenet_v1_features(width: float = 1.0, output_stride: int = 32) -> nn.Sequential:
    """Its 14 layers before the pool; atrous beyond `output_stride`."""
    (stem_stride, _), *steps = atrous((2, *(stride for _, stride in _SEPARABLE)), output_stride)
    channels = round_channels(_STEM_CHANNELS * width)
    layers = [conv_bn(3, channels, 3, stride=stem_stride)]
    for (base, _), (stride, dilation) in zip(_SEPARABLE, steps, strict=True):
        out = round_channels(base * width)
        depthwise = conv_bn(channels, channels, 3, stride=stride, groups=channels, dilation=dilation)
        layers.append(nn.Sequential(depthwise, conv_bn(channels, out)))
        channels = out
    return nn.Sequential(*layers)
