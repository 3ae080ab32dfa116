"""Networks that make numbers of a camera's frame themselves: the stem does it, or else a kernel before it."""

from __future__ import annotations

import pytest
import torch
from test_lower import Apply, assert_agrees, kinds, lowered, settle
from torch import nn
from torch.nn import functional as F

from compile.frontend import trace
from compile.lower import fuse
from compile.models import model_rows
from compile.passes.readers import readers_of
from compile.source import FRAMES, Source
from targets.cores import find_core

MEAN, STD = torch.tensor([0.4, 0.5, 0.6])[:, None, None], torch.tensor([0.2, 0.3, 0.4])[:, None, None]


def planes(frame: torch.Tensor) -> torch.Tensor:
    return frame.permute(0, 3, 1, 2).float()


def stem(size: int = 3, stride: int = 2, groups: int = 1) -> nn.Module:
    return nn.Conv2d(3, 18 if groups > 1 else 16, size, stride, size // 2, groups=groups)


FOLDED = {
    "normalised": lambda m, x: m.stem((planes(x) / 255 - MEAN) / STD),
    "to_minus_one_and_one": lambda m, x: m.stem(planes(x) / 127.5 - 1),
    "as_it_is": lambda m, x: F.hardswish(m.stem(planes(x))),
    "padded": lambda m, x: m.stem(F.pad(planes(x) / 255 - MEAN, (1, 0, 2, 1))),
    "read_by_two_stems": lambda m, x: ((y := planes(x) * 0.01), m.stem(y) + m.other(y))[1],
}
LEFT = {
    "cast_first": lambda m, x: m.stem(x.float().permute(0, 3, 1, 2) * 0.01),
    "squared": lambda m, x: m.stem((planes(x) * 0.01) ** 2),
    "by_pixel": lambda m, x: m.stem(planes(x) * m.shade),
    "pointwise": lambda m, x: m.pointwise(planes(x) * 0.01),
    "grouped": lambda m, x: m.grouped(planes(x) * 0.01),
    "pooled_too": lambda m, x: ((y := planes(x) * 0.01), m.stem(y) + F.max_pool2d(y, 2).sum(1, True))[1],
}


def network(body) -> nn.Module:
    torch.manual_seed(0)
    layers = {"stem": stem(), "other": stem(5), "pointwise": stem(1), "grouped": stem(3, groups=3)}
    module = settle(Apply(body, **layers))
    module.register_buffer("shade", torch.rand(20, 28))
    return module


@pytest.mark.parametrize("name", [*FOLDED, *LEFT])
def test_network_of_frames_agrees(name):
    module = network((FOLDED | LEFT)[name])
    frame = torch.randint(0, 256, (1, 20, 28, 3), dtype=torch.uint8)
    found = lowered(module, frame)
    stems = [kernel for kernel in found.kernels if kernel.kind == "stem"]
    of_frames = [kernel for kernel in stems if "strip" in kernel.workload.details]
    assert (kinds(found)["other"] == 0) == (name in FOLDED)
    assert len(of_frames) == {"read_by_two_stems": 2, "pooled_too": 1}.get(name, int(name in FOLDED))
    assert_agrees(module, found, frame)


def registered() -> list[object]:
    """The networks; those whose first kernel is like another's are marked `slow`."""
    names = [row["name"] for row in model_rows()]
    quick = ("mobilenet_v2", "shufflenet")
    return [pytest.param(name, marks=() if name in quick else pytest.mark.slow) for name in names]


@pytest.mark.parametrize("model", registered())
def test_first_kernel_reads_the_frame_itself(model):
    """There are no more kernels than without a camera, and one, of the stem, reads it."""
    size = {"image": (1, 3, 96, 96)}
    sources = [Source(model, {}, "random:0", size, *more) for more in ((), (FRAMES,))]
    without, frames = (fuse(trace(source).relax(), find_core("cortex-a53")) for source in sources)
    names = [[str(var.name_hint) for var, _ in module.functions_items()] for module in (without, frames)]
    assert sorted(names[0]) == sorted(names[1])
    (reader,) = readers_of(frames["main"])[frames["main"].params[0]]
    assert any(kind in str(reader.args[0].name_hint) for kind in ("stem", "bottleneck"))
