"""A network that takes a camera's frames: it normalises them itself."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from compile.preprocess import Preprocess


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
