"""What a network costs: its parameters and the multiply-adds of one inference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from targets.errors import UserError

if TYPE_CHECKING:
    import torch
    from torch import nn


@dataclass(frozen=True)
class Cost:
    """Counts for one inference; multiply-adds are those of convolutions and linear layers."""

    params: int
    multiply_adds: int


def model_cost(module: nn.Module, input_shape: Sequence[int]) -> Cost:
    """Count by running `module`, which is in eval mode, once on zeros of `input_shape` (N, C, H, W; float32).

    A module on the meta device is counted without arithmetic. Raises UserError when the module does not take
    such an input.
    """
    import torch

    counted: list[int] = []

    def count(layer: nn.Module, inputs: Any, output: Any) -> None:
        counted.append(_layer_multiply_adds(layer, inputs[0], output))

    hooks = [layer.register_forward_hook(count) for layer in module.modules() if _is_counted(layer)]
    first = next(module.parameters(), None)
    example = torch.zeros(*input_shape, device=first.device if first is not None else "cpu")
    try:
        with torch.no_grad():
            module(example)
    except (RuntimeError, ValueError) as error:
        shape = "x".join(map(str, input_shape))
        reason = str(error).partition("\n")[0]
        raise UserError(f"{type(module).__name__} does not take an input of {shape}: {reason}") from error
    finally:
        for hook in hooks:
            hook.remove()
    return Cost(sum(p.numel() for p in module.parameters()), sum(counted))


def _is_counted(layer: nn.Module) -> bool:
    from torch import nn

    convolutions = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
    return isinstance(layer, (nn.Linear, *convolutions)) or _is_transposed(layer)


def _is_transposed(layer: nn.Module) -> bool:
    from torch import nn

    return isinstance(layer, (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d))


def _layer_multiply_adds(layer: Any, given: torch.Tensor, output: torch.Tensor) -> int:
    """One row of the weight for every output; a transposed convolution has one for every input."""
    per_value = layer.weight[0].numel()
    return int((given if _is_transposed(layer) else output).numel() * per_value)
