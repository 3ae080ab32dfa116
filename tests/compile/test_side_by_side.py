"""Concatenations of channels without a copy, and shuffles of channels where they cost least."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from compile.build import executed, memory_plan
from compile.lower import Lowered
from tests.compile.test_lower import CORE, Apply, assert_agrees, lowered


def called(network: Lowered) -> Counter[str]:
    return Counter(kernel.kind for kernel in executed(network, memory_plan(network, CORE)))


def joined(*branches: nn.Module, channels: int, stem: int = 12) -> nn.Module:
    """Branches of a stem's pixels, side by side; a convolution reads them."""
    return Apply(
        lambda self, x: self.last(torch.cat([branch(F.relu(self.stem(x))) for branch in self.branches], 1)),
        stem=nn.Conv2d(3, stem, 3, 1, 1),
        branches=nn.ModuleList(branches),
        last=nn.Conv2d(channels, 7, 1),
    )


def bottleneck(out: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(12, 40, 1),
        nn.ReLU6(),
        nn.Conv2d(40, 40, 3, 1, 1, groups=40),
        nn.ReLU6(),
        nn.Conv2d(40, out, 1),
    )


class Residual(nn.Module):
    """Its last convolution adds its input where it stores: two pitches in one written-out loop."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.inner, self.last = nn.Conv2d(channels, 24, 3, 1, 1), nn.Conv2d(24, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.last(F.relu(self.inner(x)))


MAKERS = {
    "residual": lambda: joined(Residual(16), Residual(16), channels=32, stem=16),
    "residual_of_a_part_of_a_vector": lambda: joined(Residual(14), Residual(14), channels=28, stem=14),
    # Widths fill no vector, so that what follows begins in the middle of one.
    "pointwise": lambda: joined(nn.Conv2d(12, 13, 1), nn.Conv2d(12, 21, 1), channels=34),
    "depthwise": lambda: joined(
        nn.Conv2d(12, 12, 3, 1, 1, groups=12),
        nn.Sequential(nn.Conv2d(12, 12, 3, 1, 1, groups=12), nn.ReLU()),
        channels=24,
    ),
    "depthwise_of_a_part_of_a_vector": lambda: joined(
        nn.Conv2d(18, 18, 3, 1, 1, groups=18), nn.Conv2d(18, 18, 5, 1, 2, groups=18), channels=36, stem=18
    ),
    "conv": lambda: joined(nn.Conv2d(12, 9, 3, 1, 1), nn.Conv2d(12, 24, 3, 1, 2, dilation=2), channels=33),
    "grouped": lambda: joined(
        nn.Conv2d(12, 20, 1, groups=4), nn.Conv2d(12, 15, 3, 1, 1, groups=3), channels=35
    ),
    "bottleneck": lambda: joined(bottleneck(14), bottleneck(10), channels=24),
    "pool": lambda: joined(nn.AvgPool2d(3, 1, 1), nn.MaxPool2d(3, 1, 1), channels=24),
    "transposed": lambda: joined(
        nn.Sequential(nn.MaxPool2d(2), nn.ConvTranspose2d(12, 6, 2, 2)), nn.Conv2d(12, 5, 1), channels=11
    ),
    "resized": lambda: joined(
        nn.Sequential(nn.MaxPool2d(2), nn.Upsample(scale_factor=2, mode="bilinear")),
        nn.Sequential(nn.MaxPool2d(2), nn.Upsample(scale_factor=2, mode="nearest")),
        channels=24,
    ),
    "three": lambda: joined(
        nn.Conv2d(12, 5, 1),
        nn.Conv2d(12, 6, 3, 1, 1),
        nn.Sequential(nn.Conv2d(12, 7, 1), nn.Hardswish()),
        channels=18,
    ),
}


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("name", MAKERS)
def test_maker_writes_its_part_where_it_belongs(name, batch):
    torch.manual_seed(0)
    module, image = MAKERS[name]().eval(), torch.randn(batch, 3, 14, 10)
    network = lowered(module, image)
    assert called(network)["concat"] == 0
    assert_agrees(module, network, image)


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (3, 2)])
def test_parts_of_few_pixels_are_written_where_they_belong(size):
    torch.manual_seed(0)
    module, image = MAKERS["conv"]().eval(), torch.randn(1, 3, *size)
    assert_agrees(module, lowered(module, image), image)


def read_elsewhere(self, x):
    y = F.relu(self.a(x))
    return self.c(torch.cat([y, self.b(y), self.b(y + 1)], 1))


def test_part_that_is_read_elsewhere_is_all_that_is_copied():
    torch.manual_seed(0)
    layers = {"a": nn.Conv2d(3, 10, 3, 1, 1), "b": nn.Conv2d(10, 10, 3, 1, 1), "c": nn.Conv2d(30, 8, 1)}
    module, image = Apply(read_elsewhere, **layers).eval(), torch.randn(1, 3, 9, 11)
    network = lowered(module, image)
    names = [
        kernel.name for kernel in executed(network, memory_plan(network, CORE)) if kernel.kind == "concat"
    ]
    assert len(names) == 1 and names[0].endswith("_but_1_2")
    assert_agrees(module, network, image)


def test_activation_of_a_concatenation_that_several_read_is_its_makers():
    torch.manual_seed(0)
    module = Apply(
        lambda m, x: m.c(F.relu(y := torch.cat([m.a(x), m.b(x)], 1))) + m.d(F.relu(y)),
        a=nn.Conv2d(3, 10, 3, 1, 1),
        b=nn.Conv2d(3, 11, 3, 1, 1),
        c=nn.Conv2d(21, 8, 1),
        d=nn.Conv2d(21, 8, 1),
    )
    image = torch.randn(1, 3, 9, 11)
    network = lowered(module, image)
    assert called(network).keys() == {"stem", "pointwise", "planar"}
    assert_agrees(module.eval(), network, image)


def shuffling(first_groups: int, stride: int, then: tuple[nn.Module, ...] = ()) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 30, 3, 1, 1),
        nn.Conv2d(30, 30, 1, groups=first_groups),
        nn.BatchNorm2d(30),
        nn.ReLU(),
        nn.ChannelShuffle(3),
        nn.Conv2d(30, 30, 3, stride, 1, groups=30),
        *then,
        nn.Conv2d(30, 18, 1, groups=3),
    )


def with_statistics(module: nn.Module) -> nn.Module:
    """Batch norms that do something, differently for each channel."""
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            for tensor in (layer.weight, layer.bias, layer.running_mean, layer.running_var):
                nn.init.uniform_(tensor, 0.5, 2.0)
    return module.eval()


@pytest.mark.parametrize(
    ("first_groups", "stride", "shuffles"),
    [(1, 1, 0), (1, 2, 0), (3, 1, 1), (3, 2, 1)],
)
def test_shuffle_is_weights_or_behind_the_stride(first_groups, stride, shuffles):
    torch.manual_seed(0)
    then = (nn.BatchNorm2d(30), nn.ReLU6())
    module, image = with_statistics(shuffling(first_groups, stride, then)), torch.randn(2, 3, 10, 9)
    network = lowered(module, image)
    woven = [k.workload for k in network.kernels if k.kind == "interleave"]
    assert len(woven) == shuffles
    assert all((each["h"], each["w"]) == (-(-10 // stride), -(-9 // stride)) for each in woven)
    assert_agrees(module, network, image)


def test_shuffle_stays_where_others_read_what_is_around_it():
    torch.manual_seed(0)

    def body(self, x):
        y = F.relu(self.a(x))
        return self.c(self.b(F.channel_shuffle(y, 2)) + F.avg_pool2d(y, 2))

    layers = {"a": nn.Conv2d(3, 8, 1), "b": nn.Conv2d(8, 8, 3, 2, 1, groups=8), "c": nn.Conv2d(8, 8, 3)}
    module, image = Apply(body, **layers).eval(), torch.randn(1, 3, 8, 6)
    network = lowered(module, image)
    (woven,) = [kernel.workload for kernel in network.kernels if kernel.kind == "interleave"]
    assert (woven["h"], woven["w"]) == (8, 6)  # what reads the depthwise convolution adds pixels
    assert_agrees(module, network, image)
