"""Networks of the user's own whose answers are known beforehand: they find what is red, green or blue."""

from __future__ import annotations

import torch
from torch import Tensor, nn

BRIGHT = 1.0
"""Of a channel, in standard deviations above ImageNet's mean: more is that colour."""


class Boxes(nn.Module):
    """The box around what is of each colour; red comes first, and a colour that is missing ends the list."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("colours", torch.arange(3, dtype=torch.int32)[None])

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        bright = (image > BRIGHT).to(torch.float32)
        columns, rows = bright.flatten(2), bright.transpose(2, 3).flatten(2)
        x1, x2 = _ends(columns, image.shape[3])
        y1, y2 = _ends(rows, image.shape[2])
        return {
            "boxes": torch.stack([x1, y1, x2, y2], 2),
            "scores": _largest(image.flatten(2)).sigmoid(),
            "labels": self.colours + 0,
            "count": _largest(columns).sum(1).to(torch.int32),
        }


def _ends(pixels: Tensor, extent: int) -> tuple[Tensor, Tensor]:
    """Where the ones begin and end in rows of `extent` pixels [N, C, rows * extent], as parts of a row."""
    steps = torch.arange(extent, dtype=torch.float32).repeat(pixels.shape[2] // extent)
    return 1 - _largest(pixels * (extent - steps)) / extent, _largest(pixels * (steps + 1)) / extent


def _largest(values: Tensor) -> Tensor:
    return torch.max(values, 2).values


class Classes(nn.Module):
    """Each pixel's colour: 0 none, 1 red, 2 green, 3 blue."""

    def __init__(self) -> None:
        super().__init__()
        self.planes = nn.Conv2d(3, 4, 1)
        weight = torch.cat([torch.zeros(1, 3), torch.eye(3)])[:, :, None, None]
        self.planes.load_state_dict({"weight": weight, "bias": torch.tensor([BRIGHT, 0, 0, 0])})

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        return {"classes": self.planes(image).argmax(1).to(torch.uint8)}
