"""NASNet-A: cells found by search, of stacked separable convolutions and pools (Zoph et al., CVPR 2018)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from compile.models import register_model
from compile.models._arguments import require_classes
from compile.models._layers import Classifier, conv_bn

Branch = tuple[int | str, int]
"""The side of a separable convolution's kernel, or a pool, or `none`; and the tensor that it reads."""


@dataclass(frozen=True)
class Design:
    """A cell, whose blocks add two branches each.

    Tensor 0 is the output of the cell before, 1 that of the one before it, 2 the first block's, and so on.
    """

    stride: int
    blocks: tuple[tuple[Branch, Branch], ...]
    outputs: tuple[int, ...]
    """The tensors that no block reads: they are concatenated."""


# The paper's Figure 4.
_NORMAL = Design(
    stride=1,
    blocks=(
        ((5, 0), (3, 1)),
        ((5, 1), (3, 1)),
        (("average", 0), ("none", 1)),
        (("average", 1), ("average", 1)),
        ((3, 0), ("none", 0)),
    ),
    outputs=(1, 2, 3, 4, 5, 6),
)
_REDUCTION = Design(
    stride=2,
    blocks=(
        ((5, 0), (7, 1)),
        (("max", 0), (7, 1)),
        (("average", 0), (5, 1)),
        (("none", 3), ("average", 2)),
        ((3, 2), ("max", 0)),
    ),
    outputs=(3, 4, 5, 6),
)
# The channels of a cell's tensors, of which the last cells concatenate six to the 1056 of the name.
_CELLS = (
    (_REDUCTION, 11),
    (_REDUCTION, 22),
    *[(_NORMAL, 44)] * 4,
    (_REDUCTION, 88),
    *[(_NORMAL, 88)] * 4,
    (_REDUCTION, 176),
    *[(_NORMAL, 176)] * 4,
)
_STEM_CHANNELS = 32
_DROPOUT = 0.5


@register_model(
    task="classify",
    input_shape=(1, 3, 224, 224),
    labels="imagenet",
    paper="Zoph et al., Learning Transferable Architectures for Scalable Image Recognition, CVPR 2018",
)
def nasnet_mobile(num_classes: int = 1000) -> nn.Module:
    """NASNet-A 4@1056, an ImageNet classifier of any input size.

    Counts are the paper's: 5.3M parameters and 564M multiply-adds, without the second classifier that only
    training has.
    """
    require_classes("nasnet_mobile", num_classes)
    return NASNet(num_classes)


class NASNet(Classifier):
    """Stem, the cells, global average pool and a dense layer."""

    def __init__(self, num_classes: int) -> None:
        features = _Features()
        super().__init__(features, features.channels, num_classes, _DROPOUT)


class _Features(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, _STEM_CHANNELS, 3, 2, bias=False),  # the one layer that its authors do not pad
            nn.BatchNorm2d(_STEM_CHANNELS),
        )
        self.cells = nn.ModuleList()
        earlier, self.channels, last_stride = 0, _STEM_CHANNELS, 1
        for design, inner in _CELLS:
            self.cells.append(Cell(design, inner, self.channels, earlier, earlier_stride=last_stride))
            earlier, self.channels = self.channels, len(design.outputs) * inner
            last_stride = design.stride

    def forward(self, image: Tensor) -> Tensor:
        earlier = x = self.stem(image)
        for cell in self.cells:
            earlier, x = x, cell(x, earlier)
        return functional.relu(x)


class Cell(nn.Module):
    """A cell of `design` with `inner` channels, of the last cell's output and the one before it.

    These have `channels` and `earlier` channels; of the latter every `earlier_stride`-th pixel is kept. The
    first cell has but one input (`earlier` is 0), which it also takes as it is.
    """

    def __init__(self, design: Design, inner: int, channels: int, earlier: int, earlier_stride: int) -> None:
        super().__init__()
        self.design = design
        self.last = _relu_conv_bn(channels, inner)
        self.earlier = _match(earlier, inner, earlier_stride) if earlier else nn.Identity()
        widths = [inner, inner if earlier else channels, *[inner] * len(design.blocks)]
        self.branches = nn.ModuleList(
            _operation(kind, widths[source], inner, design.stride if source < 2 else 1)
            for block in design.blocks
            for kind, source in block
        )

    def forward(self, x: Tensor, earlier: Tensor) -> Tensor:
        tensors = [self.last(x), self.earlier(earlier)]
        branches = iter(self.branches)
        for block in self.design.blocks:
            left, right = (next(branches)(tensors[source]) for _, source in block)
            tensors.append(left + right)
        return torch.cat([tensors[i] for i in self.design.outputs], 1)


class FactorizedReduction(nn.Module):
    """Half the pixels: half the channels are made of the even rows and columns, half of the odd ones."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.even, self.odd = (nn.Conv2d(channels, out // 2, 1, 2, bias=False) for _ in range(2))
        self.norm = nn.BatchNorm2d(out)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(x)
        shifted = functional.pad(x, (0, 1, 0, 1))[:, :, 1:, 1:]
        norm: Tensor = self.norm(torch.cat([self.even(x), self.odd(shifted)], 1))
        return norm


def _match(channels: int, out: int, stride: int) -> nn.Module:
    if stride == 2:
        return FactorizedReduction(channels, out)
    return nn.Identity() if channels == out else _relu_conv_bn(channels, out)


def _operation(kind: int | str, channels: int, out: int, stride: int) -> nn.Module:
    if kind == "none":
        return nn.Identity()
    if kind == "max":
        return nn.MaxPool2d(3, stride, 1)
    if kind == "average":
        return nn.AvgPool2d(3, stride, 1, count_include_pad=False)
    assert isinstance(kind, int)
    return nn.Sequential(_separable(channels, out, kind, stride), _separable(out, out, kind, 1))


def _separable(channels: int, out: int, kernel: int, stride: int) -> nn.Sequential:
    depthwise = nn.Conv2d(channels, channels, kernel, stride, kernel // 2, groups=channels, bias=False)
    return nn.Sequential(nn.ReLU(), depthwise, conv_bn(channels, out, activation=None))


def _relu_conv_bn(channels: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.ReLU(), conv_bn(channels, out, activation=None))
