"""A network that takes a camera's frames: it normalises them itself, which compiling leaves to its stem."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from compile.export import export_module
from compile.preprocess import Preprocess
from compile.source import FRAMES, TensorInfo
from targets.errors import UserError

if TYPE_CHECKING:
    from compile.frontend import Traced


def take_frames(traced: Traced) -> Traced:
    """The same network, but that its image is uint8 (N, H, W, 3); UserError where it takes none."""
    steps = traced.preprocess
    if steps is None:
        raise UserError(f"{traced.name} takes no image, so --input-format {FRAMES} does not apply.")
    (image,) = traced.inputs
    batch, channels, height, width = image.shape
    frame = TensorInfo(image.name, (batch, height, width, channels), "uint8")
    module = FromFrames(traced.program.module(), steps)
    program = export_module(traced.name, module, {frame.name: frame.shape}, torch.uint8)
    steps = dataclasses.replace(steps, format=FRAMES)
    return dataclasses.replace(traced, program=program, inputs=(frame,), preprocess=steps)


class FromFrames(nn.Module):
    """The network, on uint8 frames (N, H, W, 3) instead of normalised float32 images (N, 3, H, W)."""

    scale: Tensor
    shift: Tensor

    def __init__(self, network: nn.Module, steps: Preprocess) -> None:
        super().__init__()
        self.network = network
        mean, std = torch.tensor(steps.mean), torch.tensor(steps.std)
        self.register_buffer("scale", (1 / (255 * std))[:, None, None])
        self.register_buffer("shift", (-mean / std)[:, None, None])

    def forward(self, frame: Tensor) -> object:
        return self.network(frame.permute(0, 3, 1, 2).to(torch.float32) * self.scale + self.shift)
