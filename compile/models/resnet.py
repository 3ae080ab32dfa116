"""ResNet: residual networks (He et al., CVPR 2016).

The submodules are named so that the state dict is torchvision's.
"""

from __future__ import annotations

from itertools import islice

from torch import Tensor, nn
from torch.nn import functional

from compile.models import register_model
from compile.models._arguments import require_classes
from compile.models._layers import atrous, conv_bn

# The paper's Table 1: width and units of each stage.
_STAGES = ((64, 3), (128, 4), (256, 23), (512, 3))
_STEM_CHANNELS = 64
_EXPANSION = 4


@register_model(
    task="classify",
    input_shape=(1, 3, 224, 224),
    labels="imagenet",
    paper="He et al., Deep Residual Learning for Image Recognition, CVPR 2016",
)
def resnet101(num_classes: int = 1000) -> nn.Module:
    """ResNet-101, an ImageNet classifier of any input size.

    The paper's 7.6B multiply-adds are 7.8B here: units that halve the image do so in their 3x3 convolution,
    as torchvision's do, not in the 1x1 before it. The paper prints no parameters; torchvision's has 44.5M.
    """
    require_classes("resnet101", num_classes)
    return ResNet(num_classes)


class ResNetFeatures(nn.Module):
    """Stem and four stages; atrous beyond `output_stride`. Makes `channels` of float32 (N, 3, H, W)."""

    channels = _STAGES[-1][0] * _EXPANSION

    def __init__(self, output_stride: int = 32) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, _STEM_CHANNELS, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(_STEM_CHANNELS)
        strides = [stride for stage, (_, units) in enumerate(_STAGES) for stride in _strides(stage, units)]
        _, _, *steps = atrous((2, 2, *strides), output_stride)
        channels, remaining, stages = _STEM_CHANNELS, iter(steps), []
        for width, units in _STAGES:
            layers = []
            for stride, dilation in islice(remaining, units):
                layers.append(Unit(channels, width, stride, dilation))
                channels = width * _EXPANSION
            stages.append(nn.Sequential(*layers))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages

    def forward(self, image: Tensor) -> Tensor:
        x = functional.max_pool2d(functional.relu(self.bn1(self.conv1(image))), 3, 2, 1)
        features: Tensor = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return features


class ResNet(ResNetFeatures):
    """The features, global average pool and a dense layer; returns logits (N, num_classes)."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.fc = nn.Linear(self.channels, num_classes)

    def forward(self, image: Tensor) -> Tensor:
        pooled = functional.adaptive_avg_pool2d(super().forward(image), (1, 1))
        logits: Tensor = self.fc(pooled.flatten(1))
        return logits


class Unit(nn.Module):
    """1x1, 3x3 and 1x1 convolutions; what they make is added to the input, projected where shapes differ."""

    def __init__(self, channels: int, width: int, stride: int, dilation: int) -> None:
        super().__init__()
        out = width * _EXPANSION
        self.conv1 = nn.Conv2d(channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, dilation, dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out)
        is_same = stride == 1 and channels == out
        self.downsample = None if is_same else conv_bn(channels, out, stride=stride, activation=None)

    def forward(self, x: Tensor) -> Tensor:
        made = functional.relu(self.bn1(self.conv1(x)))
        made = functional.relu(self.bn2(self.conv2(made)))
        made = self.bn3(self.conv3(made))
        return functional.relu(made + (x if self.downsample is None else self.downsample(x)))


def _strides(stage: int, units: int) -> list[int]:
    return [1 if stage == 0 else 2, *[1] * (units - 1)]
