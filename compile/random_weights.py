"""Weights drawn from a seed, such that an untrained network's outputs still depend on its inputs.

He initialisation alone leaves batch-norm statistics that fit nothing and outputs that hardly vary between
images; here both are calibrated on structured random inputs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from targets.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor, nn

# Images in the calibration batch: enough for statistics over the 7x7 pixels of the last layers.
_BATCH = 8
# Standard deviation of the outputs between inputs, as of a trained classifier's logits.
_OUTPUT_SPREAD = 2.0
_NOISE_SCALES = (2, 4, 8, 16, 64)


def randomise(module: nn.Module, model: str, seed: int, input_shape: Sequence[int]) -> None:
    """Fill `module` from `seed` and leave it in eval mode; the global random state stays as it was.

    Every batch norm's running statistics are those of its input over a batch of structured inputs of
    `input_shape` (N, C, H, W; N is ignored), and the last layer's outputs vary between inputs. Raises
    UserError when the network (called `model`) does not take such inputs.
    """
    import torch

    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        for layer in module.modules():
            _initialise(layer)
        try:
            images = structured_inputs((_BATCH, *input_shape[1:]))
            last = _calibrate_batch_norms(module.eval(), images)
        except (RuntimeError, ValueError) as error:
            shape = "x".join(map(str, input_shape))
            reason = str(error).partition("\n")[0]
            raise UserError(f"{model} does not take an input of {shape}: {reason}") from error
        for layer, outputs in last.items():
            _spread_outputs(layer, outputs)


def structured_inputs(shape: Sequence[int]) -> Tensor:
    """Random float32 inputs of `shape` (N, C, H, W), mean 0 and variance 1, from torch's global generator.

    Like images they have structure at every scale: smooth shading, blobs, an edge across, and noise.
    """
    import torch
    from torch.nn import functional

    count, channels, height, width = shape
    images = torch.randn(count, channels, height, width) / 4
    for scale in _NOISE_SCALES:
        noise = torch.randn(count, channels, scale, scale)
        images += functional.interpolate(noise, (height, width), mode="bilinear") / math.sqrt(scale)
    slope, offset = torch.randn(2, count, 1, 1, 1)
    rows = torch.linspace(-1, 1, height).reshape(1, 1, height, 1)
    columns = torch.linspace(-1, 1, width).reshape(1, 1, 1, width)
    images += torch.randn(count, channels, 1, 1) * (slope * rows + columns > offset)
    return (images - images.mean()) / images.std()


def _initialise(layer: nn.Module) -> None:
    """He initialisation; batch norms scale and shift a little, as trained ones do."""
    from torch import nn
    from torch.nn import init

    if isinstance(layer, (nn.modules.conv._ConvNd, nn.Linear)):
        init.kaiming_normal_(layer.weight, nonlinearity="relu")
        if layer.bias is not None:
            init.normal_(layer.bias, std=0.1)
    elif isinstance(layer, nn.modules.batchnorm._BatchNorm) and layer.affine:
        init.uniform_(layer.weight, 0.5, 1.5)
        init.normal_(layer.bias, std=0.2)
    elif reset := getattr(layer, "reset_parameters", None):
        reset()


def _calibrate_batch_norms(module: nn.Module, images: Tensor) -> dict[nn.Module, Tensor]:
    """Set each batch norm's statistics as `images` reach it.

    Returns the last convolution or dense layer that ran, with its outputs, unless a batch norm came after it.
    """
    from torch import nn

    last: dict[nn.Module, Tensor] = {}

    def adopt(layer: Any, inputs: tuple[Tensor]) -> None:
        last.clear()
        by_channel = inputs[0].transpose(0, 1).flatten(1)
        layer.running_mean.copy_(by_channel.mean(1))
        layer.running_var.copy_(by_channel.var(1, correction=0))

    def remember(layer: nn.Module, _inputs: Any, output: Tensor) -> None:
        last.clear()
        last[layer] = output.clone()  # what follows may work in place

    hooks = []
    for layer in module.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm) and layer.track_running_stats:
            hooks.append(layer.register_forward_pre_hook(adopt))
        elif isinstance(layer, (nn.modules.conv._ConvNd, nn.Linear)):
            hooks.append(layer.register_forward_hook(remember))
    try:
        module(images)
    finally:
        for hook in hooks:
            hook.remove()
    return last


def _spread_outputs(layer: Any, outputs: Tensor) -> None:
    """Centre a layer's outputs and scale them, so that what differs between inputs is what shows."""
    from torch import nn

    channel = -1 if isinstance(layer, nn.Linear) else 1
    values = outputs.movedim(channel, 0).flatten(1)
    spread = values.std(1).mean()
    if layer.bias is not None and spread > 0:
        scale = _OUTPUT_SPREAD / spread
        layer.weight.mul_(scale)
        layer.bias.copy_((layer.bias - values.mean(1)) * scale)
