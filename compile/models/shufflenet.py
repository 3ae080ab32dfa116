"""ShuffleNet: grouped pointwise convolutions and channel shuffles (Zhang et al., CVPR 2018)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from compile.models import register_model
from compile.models._arguments import require_classes, require_width
from compile.models._layers import Classifier, conv_bn

Groups = Literal[1, 2, 3, 4, 8]

# The paper's Table 1: output channels of stage 2 by groups, which double at each stage; units of the stages.
_STAGE_2 = {1: 144, 2: 200, 3: 240, 4: 272, 8: 384}
_UNITS = (4, 8, 4)
# (least width, channels). The paper scales every layer, but its multiply-adds fit steps, as in its authors'
# code (megvii-model/ShuffleNet-Series): with 24 * width, 0.25 would count 11M and 1.5 300M, not 13M and 292M.
_STEM_CHANNELS = ((2.0, 48), (1.0, 24), (0.0, 12))
# "The number of bottleneck channels is set to 1/4 of the output channels".
_SQUEEZE = 4


@register_model(
    task="classify",
    input_shape=(1, 3, 224, 224),
    labels="imagenet",
    paper="Zhang et al., ShuffleNet: An Extremely Efficient Convolutional Neural Network for Mobile Devices, "
    "CVPR 2018",
)
def shufflenet(width: float = 1.0, groups: Groups = 3, num_classes: int = 1000) -> nn.Module:
    """ShuffleNet (V1), an ImageNet classifier of any input size.

    `width` is 0.25 to 2.0. Multiply-adds are the paper's: at 3 groups 137M at width 1.0, 292M at 1.5 and 524M
    at 2.0. So are the parameters, which MobileNetV2's paper prints: 3.4M at 1.5 and 5.4M at 2.0.
    """
    require_width("shufflenet", width, 0.25, 2.0)
    require_classes("shufflenet", num_classes)
    return ShuffleNet(width, groups, num_classes)


class ShuffleNet(Classifier):
    """Stem, max pool, three stages of units, global average pool and a dense layer."""

    def __init__(self, width: float, groups: int, num_classes: int) -> None:
        channels = next(stem for least, stem in _STEM_CHANNELS if width >= least)
        channels = -(-channels // groups) * groups
        layers: list[nn.Module] = [
            conv_bn(3, channels, 3, stride=2, activation=nn.ReLU),
            nn.MaxPool2d(3, 2, 1),
        ]
        for stage, units in enumerate(_UNITS):
            out = _whole_groups(_STAGE_2[groups] * width * 2**stage, groups * _SQUEEZE)
            for unit in range(units):
                # The stem has too few channels to be convolved in groups.
                first_groups = 1 if stage == unit == 0 else groups
                layers.append(Unit(channels, out, groups, first_groups, stride=2 if unit == 0 else 1))
                channels = out
        super().__init__(nn.Sequential(*layers), channels, num_classes, dropout=0.0)


class Unit(nn.Module):
    """Grouped 1x1, channel shuffle, 3x3 depthwise, grouped 1x1; its input is added, or pooled and joined."""

    def __init__(self, channels: int, out: int, groups: int, first_groups: int, stride: int) -> None:
        super().__init__()
        middle, made = out // _SQUEEZE, out if stride == 1 else out - channels
        self.groups = groups
        self.squeeze = conv_bn(channels, middle, groups=first_groups, activation=nn.ReLU)
        self.depthwise = conv_bn(middle, middle, 3, stride=stride, groups=middle, activation=None)
        self.expand = conv_bn(middle, made, groups=groups, activation=None)
        self.pool = nn.AvgPool2d(3, 2, 1) if stride == 2 else None

    def forward(self, x: Tensor) -> Tensor:
        shuffled = _shuffle(self.squeeze(x), self.groups)
        made = self.expand(self.depthwise(shuffled))
        whole = x + made if self.pool is None else torch.cat([self.pool(x), made], 1)
        return functional.relu(whole)


def _shuffle(x: Tensor, groups: int) -> Tensor:
    """The first channel of each group, then the second of each, and so on."""
    if groups == 1:
        return x
    batch, channels, height, width = x.shape
    split = x.reshape(batch, groups, channels // groups, height, width)
    return split.transpose(1, 2).reshape(batch, channels, height, width)


def _whole_groups(channels: float, multiple: int) -> int:
    """The nearest multiple of `multiple`, at least one."""
    return max(1, round(channels / multiple)) * multiple
