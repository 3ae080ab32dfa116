"""Heads of segmentation and detection networks, and blocks of mobile ones: their kernels, and numbers.

That no `transpose` is among the kernels says that layouts are settled without copies.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from compile.build import executed, memory_plan
from tests.boards import run_network
from tests.compile.test_lower import CORE, Apply, assert_agrees, lowered
from tests.schedules.test_resize import assert_same_classes


def upsampled(x: torch.Tensor, like: torch.Tensor, align_corners: bool = False) -> torch.Tensor:
    return F.interpolate(x, like.shape[-2:], mode="bilinear", align_corners=align_corners)


def deeplab(classes: int = 21, ends=lambda logits: logits) -> nn.Module:
    """Image pooling and a 1x1 convolution, concatenated; logits at an eighth of the image's size."""

    def body(self, image):
        x = F.relu6(self.body2(F.relu6(self.body1(image))))
        pooled = upsampled(F.relu(self.pooled(F.adaptive_avg_pool2d(x, 1))), x)
        x = F.relu(self.project(torch.cat([pooled, F.relu(self.one(x))], 1)))
        return ends(upsampled(self.classes(x), image, True))

    return Apply(
        body,
        body1=nn.Conv2d(3, 8, 3, 4, 1),
        body2=nn.Conv2d(8, 16, 3, 2, 1),
        pooled=nn.Conv2d(16, 12, 1),
        one=nn.Conv2d(16, 12, 1),
        project=nn.Conv2d(24, 16, 1),
        classes=nn.Conv2d(16, classes, 1),
    )


def atrous() -> nn.Module:
    def body(self, image):
        x = F.relu(self.stem(image))
        pooled = upsampled(F.relu(self.pooled(x.mean((2, 3), keepdim=True))), x)
        x = torch.cat([F.relu(self.one(x)), F.relu(self.wide(x)), pooled], 1)
        return F.relu(self.project(x))

    return Apply(
        body,
        stem=nn.Conv2d(3, 16, 3, 2, 1),
        pooled=nn.Conv2d(16, 8, 1),
        one=nn.Conv2d(16, 8, 1),
        wide=nn.Conv2d(16, 8, 3, padding=3, dilation=3),
        project=nn.Conv2d(24, 18, 1),
    )


def lraspp() -> nn.Module:
    def body(self, image):
        low = F.hardswish(self.low(image))
        high = F.hardswish(self.high(low))
        scale = torch.sigmoid(self.scale(F.adaptive_avg_pool2d(high, 1)))
        x = upsampled(F.relu(self.centre(high)) * scale, low)
        return upsampled(self.low_classes(low) + self.high_classes(x), image)

    return Apply(
        body,
        low=nn.Conv2d(3, 12, 3, 2, 1),
        high=nn.Conv2d(12, 16, 3, 2, 1),
        scale=nn.Conv2d(16, 20, 1, bias=False),
        centre=nn.Conv2d(16, 20, 1),
        low_classes=nn.Conv2d(12, 19, 1),
        high_classes=nn.Conv2d(20, 19, 1),
    )


def pyramid() -> nn.Module:
    def body(self, image):
        large = F.relu(self.large(image))
        small = F.relu(self.small(large))
        top = self.top(small)
        return self.side(large) + F.interpolate(top, large.shape[-2:], mode="nearest"), top

    return Apply(
        body,
        large=nn.Conv2d(3, 8, 3, 2, 1),
        small=nn.Conv2d(8, 16, 3, 2, 1),
        top=nn.Conv2d(16, 12, 1),
        side=nn.Conv2d(8, 12, 1),
    )


def shuffle_unit() -> nn.Module:
    def body(self, image):
        kept, x = F.relu(self.stem(image)).chunk(2, 1)
        x = torch.cat([kept, F.relu(self.last(self.depthwise(F.relu(self.first(x)))))], 1)
        batch, channels, height, width = x.shape
        x = x.view(batch, 2, channels // 2, height, width).transpose(1, 2)
        return self.next(x.reshape(batch, channels, height, width))

    return Apply(
        body,
        stem=nn.Conv2d(3, 20, 3, 2, 1),
        first=nn.Conv2d(10, 10, 1),
        depthwise=nn.Conv2d(10, 10, 3, padding=1, groups=10),
        last=nn.Conv2d(10, 10, 1),
        next=nn.Conv2d(20, 8, 1),
    )


def decoder() -> nn.Module:
    def body(self, image):
        large = F.relu(self.large(image))
        x = torch.cat([self.up(F.relu(self.small(large))), large], 1)
        return self.classes(F.relu(self.mix(x)))

    return Apply(
        body,
        large=nn.Conv2d(3, 12, 3, 2, 1),
        small=nn.Conv2d(12, 20, 3, 2, 1),
        up=nn.ConvTranspose2d(20, 12, 2, 2),
        mix=nn.Conv2d(24, 12, 3, padding=1),
        classes=nn.Conv2d(12, 5, 1),
    )


def squeeze() -> nn.Module:
    def body(self, image):
        x = F.hardswish(self.depthwise(F.hardswish(self.stem(image))))
        scale = F.hardsigmoid(self.expand(F.relu(self.reduce(F.adaptive_avg_pool2d(x, 1)))))
        return self.project(x * scale)

    return Apply(
        body,
        stem=nn.Conv2d(3, 24, 3, 2, 1),
        depthwise=nn.Conv2d(24, 24, 3, padding=1, groups=24),
        reduce=nn.Conv2d(24, 8, 1),
        expand=nn.Conv2d(8, 24, 1),
        project=nn.Conv2d(24, 16, 1),
    )


NETWORKS = {
    # Image pooling is added after the projection, and neither spread nor concatenated.
    "deeplab": (deeplab, ["stem", "conv", "pool", *["pointwise"] * 5, "planar"]),
    "atrous": (atrous, ["stem", "pool", *["pointwise"] * 2, "conv", *["pointwise"] * 2, "planar"]),
    # A scale is applied in the epilogue of what it scales.
    "lraspp": (lraspp, ["stem", "conv", "pool", *["pointwise"] * 2, "resize", *["pointwise"] * 2, "planar"]),
    "pyramid": (pyramid, ["stem", "conv", "pointwise", "resize", "pointwise", "planar", "planar"]),
    "shuffle": (
        shuffle_unit,
        ["stem", "elementwise", "pointwise", "depthwise", "pointwise", "interleave", "pointwise", "planar"],
    ),
    "decoder": (
        decoder,
        ["stem", "conv", "pointwise", "interleave", "concat", "conv", "pointwise", "planar"],
    ),
    "squeeze": (
        squeeze,
        ["stem", "depthwise", "pool", "pointwise", "pointwise", "elementwise", "pointwise", "planar"],
    ),
}


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("name", NETWORKS)
def test_head_is_its_kernels_and_agrees_with_pytorch(name, batch):
    torch.manual_seed(0)
    make, kinds = NETWORKS[name]
    module, image = make().eval(), torch.randn(batch, 3, 36, 28)
    network = lowered(module, image)
    found = [kernel.kind for kernel in executed(network, memory_plan(network, CORE))]
    assert sorted(found) == sorted(kinds)
    assert_agrees(module, network, image)


CLASS_MAPS = {
    "int64": lambda logits: logits.argmax(1),
    "uint8": lambda logits: logits.argmax(dim=1).to(torch.uint8),
    "kept": lambda logits: logits.argmax(1, keepdim=True).int(),
    "pixels": lambda logits: logits.permute(0, 2, 3, 1).argmax(-1),
    "probabilities": lambda logits: logits.softmax(1).argmax(1),
}


@pytest.mark.parametrize("name", CLASS_MAPS)
def test_class_map_is_one_kernel_from_the_logits(name):
    torch.manual_seed(0)
    module, image = deeplab(ends=CLASS_MAPS[name]).eval(), torch.randn(1, 3, 33, 45)
    network = lowered(module, image)
    with torch.no_grad():
        expected = module(image)
        module.body = deeplab().body
        logits = module(image)
    (result,) = run_network(network, CORE, image.numpy())
    assert result.shape == tuple(expected.shape) and str(result.dtype) == str(expected.dtype).split(".")[1]
    assert_same_classes(result.reshape(1, 33, 45), logits)
    assert [kernel.kind for kernel in network.kernels][-2:] == ["pointwise", "argmax"]


def test_logits_that_are_returned_too_are_planes():
    torch.manual_seed(0)
    module = deeplab(ends=lambda logits: (logits, logits.argmax(1))).eval()
    image = torch.randn(1, 3, 33, 45)
    network = lowered(module, image)
    with torch.no_grad():
        logits, _ = module(image)
    planes, classes = run_network(network, CORE, image.numpy())
    assert (torch.from_numpy(planes) - logits).abs().max() < 1e-4
    assert_same_classes(classes, logits)
