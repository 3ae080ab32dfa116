"""Which chains of convolutions become one kernel, which do not, and that all compute what PyTorch does."""

from __future__ import annotations

import math

import pytest
import torch
from test_lower import Apply, assert_agrees, kinds, lowered, settle
from torch import nn
from torch.nn import functional as F

from schedules.block import Bottleneck, Expansion
from schedules.bottleneck import decide, is_better_fused
from schedules.space import First
from schedules.window import Window
from targets.cores import find_core

SIZE = 40
"""Large enough that what is between the convolutions does not fit a first-level cache."""


def convolution(inputs, outputs, size=1, stride=1, groups=1) -> nn.Sequential:
    layer = nn.Conv2d(inputs, outputs, size, stride, size // 2, groups=groups, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(outputs))


class Block(nn.Module):
    """An inverted residual of 16 channels behind a 1x1 convolution, with `body` around its layers."""

    def __init__(self, body, middle=48, size=3, stride=1) -> None:
        super().__init__()
        self.body = body
        self.first = nn.Conv2d(3, 16, 1)
        self.expand = convolution(16, middle)
        self.filter = convolution(middle, middle, size, stride, groups=middle)
        self.project = convolution(middle, 16)

    def forward(self, image):
        return self.body(self, self.first(image))


def expanded(m, x):
    return F.relu6(m.expand(x))


def filtered(m, x):
    return F.relu6(m.filter(expanded(m, x)))


FUSED = {
    "linear": lambda m, x: m.project(filtered(m, x)),
    "shortcut": lambda m, x: x + m.project(filtered(m, x)),
    "shortcut_from_elsewhere": lambda m, x: m.project(filtered(m, x)) + x * 2,
    "relu": lambda m, x: F.relu(m.project(F.relu(m.filter(F.relu(m.expand(x)))))),
    "no_clamp": lambda m, x: m.project(m.filter(m.expand(x))),
    "read_twice": lambda m, x: ((y := m.project(filtered(m, x))), torch.sigmoid(y)),
    "pooled": lambda m, x: F.max_pool2d(m.project(filtered(m, x)), 2),
}
SEPARABLE = {
    "expansion_read_twice": lambda m, x: ((y := expanded(m, x)), m.project(F.relu6(m.filter(y)))),
    "expansion_with_silu": lambda m, x: m.project(F.relu6(m.filter(F.silu(m.expand(x))))),
}
APART = {
    "filter_read_twice": lambda m, x: ((y := filtered(m, x)), m.project(y)),
    "filter_with_silu": lambda m, x: m.project(F.silu(m.filter(expanded(m, x)))),
    "silu_last": lambda m, x: F.silu(m.project(filtered(m, x))),
    "scaled_channels": lambda m, x: m.project(filtered(m, x)) * torch.sigmoid(x),
    "broadcast_shortcut": lambda m, x: m.project(filtered(m, x)) + x.mean((2, 3), keepdim=True),
}
CASES = [(n, 1, f) for n, f in FUSED.items()] + [(n, 1, f) for n, f in SEPARABLE.items()]
CASES += [(n, 0, f) for n, f in APART.items()]


@pytest.mark.parametrize(("bottlenecks", "body"), [case[1:] for case in CASES], ids=[c[0] for c in CASES])
def test_chain(bottlenecks, body):
    torch.manual_seed(0)
    module, image = settle(Block(body)), torch.randn(1, 3, SIZE, SIZE)
    network = lowered(module, image)
    assert kinds(network)["bottleneck"] == bottlenecks
    assert_agrees(module, network, image)


@pytest.mark.parametrize("name", SEPARABLE)
def test_expansion_that_is_needed_elsewhere_stays_a_kernel(name):
    network = lowered(settle(Block(SEPARABLE[name])), torch.randn(1, 3, SIZE, SIZE))
    assert kinds(network)["pointwise"] == 2


def test_shape_of_another_stride_batch_and_odd_channels():
    torch.manual_seed(0)
    module = settle(Block(FUSED["linear"], middle=45, size=5, stride=2))
    image = torch.randn(2, 3, 41, 37)
    network = lowered(module, image)
    assert kinds(network)["bottleneck"] == 1
    assert_agrees(module, network, image)


def test_stem_is_fused_with_the_first_block():
    torch.manual_seed(0)
    stem = nn.Sequential(convolution(3, 32, 3, 2), nn.ReLU6(), convolution(32, 32, 3, groups=32), nn.ReLU6())
    module, image = settle(nn.Sequential(stem, convolution(32, 16))), torch.randn(1, 3, 80, 72)
    network = lowered(module, image)
    (kernel,) = (kernel for kernel in network.kernels if kernel.kind == "bottleneck")
    assert kernel.workload["stem"] == 3
    assert kernel.workload.multiply_adds == 40 * 36 * 32 * (27 + 9 + 16)
    assert_agrees(module, network, image)


def test_separable_pairs_are_fused():
    torch.manual_seed(0)
    layers = [
        nn.Sequential(convolution(8 * n, 8 * n, 3, groups=8 * n), nn.ReLU6(), convolution(8 * n, 8 * n + 8))
        for n in (4, 5)
    ]
    module = settle(
        Apply(lambda m, x: m.layers(m.first(x)), first=nn.Conv2d(3, 32, 1), layers=nn.Sequential(*layers))
    )
    image = torch.randn(1, 3, SIZE, SIZE)
    network = lowered(module, image)
    counted = kinds(network)
    # The first pair takes the 1x1 convolution before it in.
    assert (counted["pointwise"], counted["bottleneck"], counted["depthwise"]) == (0, 2, 0)
    assert_agrees(module, network, image)


def inverted_residual(size: int, inputs: int, middle: int) -> Bottleneck:
    clamp, linear = (0.0, 6.0), (-math.inf, math.inf)
    window = Window((3, 3), padding=(1, 1, 1, 1))
    expansion = Expansion(inputs, (size, size), Window((1, 1)), clamp, True)
    return Bottleneck(1, (size, size), middle, inputs, window, clamp, linear, expansion, True)


@pytest.mark.parametrize(
    ("core", "size", "inputs", "middle", "rows"),
    [
        ("a72", 56, 24, 144, 2),
        ("a53", 56, 24, 144, 2),
        ("a72", 14, 96, 576, 2),  # 0.5 MB of weights stay in 1 MB
        ("a53", 14, 96, 576, 14),  # not in 0.5 MB: read once
        ("a72", 75, 24, 144, 1),
        ("a72", 3, 56, 336, None),
    ],
)
def test_choice_for_a_core(core, size, inputs, middle, rows):
    block, core = inverted_residual(size, inputs, middle), find_core(core)
    assert is_better_fused(block, core) == (rows is not None)
    if rows is not None:
        assert decide(block.workload(), core, First())["rows"] == rows
