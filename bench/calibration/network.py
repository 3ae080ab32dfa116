"""MobileNetV2 as a list of layers, batch norm folded: what both engines' model writers read."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from compile.models.mobilenet_v2 import Bottleneck, MobileNetV2

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Layer:
    """One layer; its output is called `name`."""

    kind: str
    """conv, depthwise, add, mean (over the pixels) or dense."""
    name: str
    inputs: tuple[str, ...]
    weight: Array | None = None
    """As PyTorch has it: [outputs, inputs, height, width]; a dense layer's is [outputs, inputs]."""
    bias: Array | None = None
    stride: int = 1
    relu6: bool = False

    @property
    def kernel(self) -> int:
        """The window's height and width; padding is half of it."""
        assert self.weight is not None
        return int(self.weight.shape[2])


IMAGE = "image"


def layers_of(model: MobileNetV2) -> list[Layer]:
    """The layers of a network in evaluation mode, in order; the first reads IMAGE."""
    layers: list[Layer] = []
    previous = IMAGE
    for block in model.features:
        entry = previous
        for convolution, norm, relu6 in _convolutions(block):
            layers.append(_convolution(f"layer{len(layers)}", previous, convolution, norm, relu6))
            previous = layers[-1].name
        if isinstance(block, Bottleneck) and block.has_shortcut:
            layers.append(Layer("add", f"layer{len(layers)}", (entry, previous)))
            previous = layers[-1].name
    layers.append(Layer("mean", "pooled", (previous,)))
    dense = model.classifier[1]
    assert isinstance(dense, nn.Linear)
    layers.append(Layer("dense", "logits", ("pooled",), _array(dense.weight), _array(dense.bias)))
    return layers


def _convolutions(block: nn.Module) -> list[tuple[nn.Conv2d, nn.BatchNorm2d, bool]]:
    flat = [module for module in block.modules() if not list(module.children())]
    found = []
    for index, module in enumerate(flat):
        if isinstance(module, nn.Conv2d):
            norm = flat[index + 1]
            assert isinstance(norm, nn.BatchNorm2d)
            found.append((module, norm, index + 2 < len(flat) and isinstance(flat[index + 2], nn.ReLU6)))
    return found


def _convolution(name: str, source: str, conv: nn.Conv2d, norm: nn.BatchNorm2d, relu6: bool) -> Layer:
    fused = fuse_conv_bn_eval(conv, norm)
    kind = "depthwise" if conv.groups > 1 else "conv"
    return Layer(kind, name, (source,), _array(fused.weight), _array(fused.bias), conv.stride[0], relu6=relu6)


def _array(parameter: object) -> Array:
    array: Array = parameter.detach().numpy()  # type: ignore[attr-defined]
    return np.ascontiguousarray(array, dtype=np.float32)
