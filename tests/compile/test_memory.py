"""The memory plan: what lives at once never overlaps; a residual is written over only where that is safe."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from tvm import te, tirx, transform

from compile.build import (
    _TO_ALLOCATIONS,
    _in_place,
    build_library,
    executed,
    finish,
    memory_plan,
    weight_bytes,
)
from compile.lower import Lowered
from compile.passes.arena import ALIGNMENT, STAGGER, Lifetime, lay_out
from compile.passes.in_place import overwritable
from compile.passes.plan_memory import Plan, plan_memory
from targets.cores import find_core
from tests.compile.test_lower import Apply, assert_agrees, lowered, mobilenet_v2

CORE = find_core("cortex-a72")


def random_tensors(seed: int) -> list[Lifetime]:
    random = np.random.default_rng(seed)
    count, steps = int(random.integers(0, 40)), int(random.integers(1, 30))
    largest = int(random.choice([100, 10_000, 1_000_000]))
    first = random.integers(0, steps, count)
    last = first + random.integers(0, steps, count)
    sizes = random.integers(1, largest, count)
    return [Lifetime(*(int(value) for value in row)) for row in zip(sizes, first, last, strict=True)]


def lower_bound(tensors: list[Lifetime]) -> int:
    """The most bytes that live at one step: no layout is smaller."""
    return max(
        (
            sum(other.size for other in tensors if other.first <= tensor.first <= other.last)
            for tensor in tensors
        ),
        default=0,
    )


@pytest.mark.parametrize("seed", range(200))
def test_tensors_that_live_at_once_do_not_overlap(seed: int) -> None:
    tensors = random_tensors(seed)
    layout = lay_out(tensors)
    placed = list(zip(tensors, layout.offsets, strict=True))
    for index, (tensor, offset) in enumerate(placed):
        assert offset % ALIGNMENT == 0 and offset >= 0 and offset + tensor.size <= layout.size
        for other, other_offset in placed[:index]:
            apart = offset + tensor.size <= other_offset or other_offset + other.size <= offset
            assert apart or tensor.last < other.first or other.last < tensor.first


@pytest.mark.parametrize("seed", range(200))
def test_the_arena_is_between_what_must_live_at_once_and_the_sum(seed: int) -> None:
    tensors = random_tensors(seed)
    spare = sum(ALIGNMENT + (STAGGER if tensor.size > STAGGER else 0) for tensor in tensors)
    assert lower_bound(tensors) <= lay_out(tensors).size <= sum(tensor.size for tensor in tensors) + spare


def plan_of(network: Lowered, in_place: bool = True) -> Plan:
    with CORE.target():
        module = transform.Sequential(list(_TO_ALLOCATIONS))(network.module)
    return plan_memory(module, _in_place(network) if in_place else ())


def test_mobilenet_v2_needs_little_more_than_what_lives_at_once() -> None:
    network = lowered(*mobilenet_v2(224))
    read, written = 112 * 112 * 16 * 4, 56 * 56 * 24 * 4  # of the second bottleneck, the largest pair
    assert read + written <= memory_plan(network, CORE).total_bytes <= 1.4e6  # its strips are the rest


def test_a_kernel_that_writes_over_its_residual_promises_nothing_of_aliases() -> None:
    network = lowered(Shortcut(SHORTCUTS["added"][0]), torch.randn(1, 3, 9, 7))
    aliased = {var.name_hint for var in plan_of(network).aliased}
    assert len(aliased) == 1 and not plan_of(network, in_place=False).aliased
    with CORE.target():
        finished = finish(network)(network.module)
    promises = {
        var.name_hint: bool(function.attrs.get("tirx.noalias", False))
        for var, function in finished.functions_items()
        if isinstance(function, tirx.PrimFunc) and var.name_hint in {k.name for k in network.kernels}
    }
    assert {name for name, promised in promises.items() if not promised} == aliased


class Shortcut(nn.Module):
    """A shortcut over two pointwise convolutions; `body` takes the input of the shortcut and the branch."""

    def __init__(self, body) -> None:
        super().__init__()
        self.stem, self.last = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 4, 1)
        self.wide, self.narrow = nn.Conv2d(16, 32, 1), nn.Conv2d(32, 16, 1)
        self.body = body

    def forward(self, image: torch.Tensor):
        x = self.stem(image)
        return self.body(self, x, self.narrow(self.wide(x)))


SHORTCUTS = {
    "added": (lambda m, x, y: m.last(x + y), 1),
    "added_and_clipped": (lambda m, x, y: m.last(F.relu6(x + y)), 1),
    "read_again": (lambda m, x, y: m.last(x + y) + m.last(x), 1),
    "returned": (lambda m, x, y: (m.last(x + y), x), 0),
    "read_through_a_view": (lambda m, x, y: (m.last(x + y), x.reshape(1, -1).mean()), 0),
    "broadcast": (lambda m, x, y: m.last(x.mean((2, 3), keepdim=True) + y), 0),
    "mirrored": (lambda m, x, y: m.last(x.flip(3) + y), 1),  # over the mirrored copy
    "added_twice": (lambda m, x, y: m.last(x + y + x), 1),
}


@pytest.mark.parametrize("name", SHORTCUTS)
def test_shortcut(name: str) -> None:
    body, overwrites = SHORTCUTS[name]
    torch.manual_seed(0)
    module, image = Shortcut(body).eval(), torch.randn(1, 3, 9, 7)
    network = lowered(module, image)
    assert_agrees(module, network, image)
    assert len(plan_of(network).aliased) == overwrites


def test_only_the_kinds_that_are_listed_write_over_a_residual() -> None:
    torch.manual_seed(0)
    module = Apply(
        lambda m, x: m.last((y := m.stem(x)) + m.depthwise(y)) + m.depthwise(m.stem(x)),
        stem=nn.Conv2d(3, 16, 3, padding=1),
        depthwise=nn.Conv2d(16, 16, 3, padding=1, groups=16),
        last=nn.Conv2d(16, 16, 1),
    ).eval()
    image = torch.randn(1, 3, 9, 7)
    network = lowered(module, image)
    assert_agrees(module, network, image)
    listed = {kernel.name for kernel in network.kernels if kernel.kind in ("pointwise", "elementwise")}
    assert {var.name_hint for var in plan_of(network).aliased} <= listed


def kernel(residual, extents, body) -> tirx.PrimFunc:
    return te.create_prim_func([residual, te.compute(extents, body, name="out")])


def test_overwritable_is_read_only_where_it_is_written() -> None:
    x = te.placeholder((8, 8), "float32", name="x")
    assert overwritable(kernel(x, (8, 8), lambda i, j: x[i, j] + 1.0)) == (0,)
    assert overwritable(kernel(x, (8, 8), lambda i, j: x[i, j] + x[i, j])) == (0,)
    assert overwritable(kernel(x, (8, 8), lambda i, j: x[j, i])) == ()
    assert overwritable(kernel(x, (8, 8), lambda i, j: x[i, j] + x[7 - i, j])) == ()
    assert overwritable(kernel(x, (4, 8), lambda i, j: x[i, j])) == ()
    assert overwritable(kernel(x, (8, 8), lambda i, j: tirx.Cast("int32", x[i, j]))) == ()


def test_not_overwritable_when_another_block_reads_it() -> None:
    x = te.placeholder((8, 8), "float32", name="x")
    k = te.reduce_axis((0, 8), name="k")
    sums = te.compute((8,), lambda i: te.sum(x[i, k], axis=k), name="sums")
    assert overwritable(kernel(x, (8, 8), lambda i, j: x[i, j] / sums[i])) == ()


def test_not_overwritable_by_a_sum_kept_in_the_output() -> None:
    x, w = te.placeholder((8, 8), name="x"), te.placeholder((8, 8), name="w")
    k = te.reduce_axis((0, 8), name="k")
    out = te.compute((8, 8), lambda i, j: te.sum(x[i, k] * w[k, j], axis=k), name="out")
    assert overwritable(te.create_prim_func([x, w, out])) == ()


def test_not_overwritable_when_tiles_overlap() -> None:
    from tvm.script import tirx as T

    @T.prim_func(s_tir=True)
    def overlapping(x: T.Buffer((10,), "float32"), out: T.Buffer((10,), "float32")):
        for tile, i in T.grid(2, 8):
            with T.sblock("out"):
                v = T.axis.spatial(10, tile * 2 + i)
                out[v] = x[v] + T.float32(1)

    @T.prim_func(s_tir=True)
    def tiled(x: T.Buffer((10,), "float32"), out: T.Buffer((10,), "float32")):
        for tile, i in T.grid(2, 8):
            with T.sblock("out"):
                v = T.axis.spatial(10, tile * 8 + i)
                T.where(tile * 8 + i < 10)
                out[v] = x[v] + T.float32(1)

    assert overwritable(overlapping) == () and overwritable(tiled) == (0,)


def test_equal_weights_are_stored_once(tmp_path: Path) -> None:
    shared = nn.Conv2d(256, 256, 1)
    network = lowered(nn.Sequential(nn.Conv2d(3, 256, 1), shared, nn.ReLU(), shared), torch.randn(1, 3, 8, 8))
    weights = 4 * (256 * 3 + 256 + 256 * 256 + 256)
    assert weight_bytes(network) == weights
    build_library(network, CORE, tmp_path / "model.so")
    assert weights < (tmp_path / "model.so").stat().st_size < weights + 100_000


def heads(self, x):
    """Two heads on two maps of features, as in SSD: the second slices begin at no multiple of 64 bytes."""
    first = F.relu(self.first(x))
    maps = (first, F.relu(self.second(first)))
    scores = [
        head(m).permute(0, 2, 3, 1).reshape(len(x), -1, 3) for head, m in zip(self.scores, maps, strict=True)
    ]
    boxes = [
        head(m).permute(0, 2, 3, 1).reshape(len(x), -1, 4) for head, m in zip(self.boxes, maps, strict=True)
    ]
    return torch.cat(scores, 1).sigmoid(), torch.cat(boxes, 1)


def ssd() -> nn.Module:
    return Apply(
        heads,
        first=nn.Conv2d(3, 8, 3, 2, 1),
        second=nn.Conv2d(8, 16, 3, 2, 1),
        scores=nn.ModuleList([nn.Conv2d(8, 9, 1), nn.Conv2d(16, 9, 1)]),
        boxes=nn.ModuleList([nn.Conv2d(8, 12, 1), nn.Conv2d(16, 12, 1)]),
    )


def concatenating(body) -> nn.Module:
    return Apply(body, a=nn.Conv2d(3, 5, 3), b=nn.Conv2d(3, 5, 3), c=nn.Conv2d(5, 4, 1))


CONCATENATIONS = {
    # name: (module, batch, calls that need no copy, copies that are left)
    "ssd": (ssd, 1, 2, 0),
    "ssd_of_two_images": (ssd, 2, 0, 1),
    "rows": (lambda: concatenating(lambda m, x: m.c(torch.cat([m.a(x), m.b(x)], 2))), 1, 1, 0),
    "channels": (lambda: concatenating(lambda m, x: torch.cat([m.a(x), m.b(x)], 1)), 1, 0, 0),
    "twice_the_same": (lambda: concatenating(lambda m, x: m.c(torch.cat([y := m.a(x), y], 2))), 1, 0, 1),
    "of_the_input": (
        lambda: concatenating(lambda _, x: torch.cat([x, x.abs()], 0)),
        1,
        0,
        1,
    ),
    "in_two": (
        lambda: concatenating(
            lambda m, x: m.c(torch.cat([y := m.a(x), m.b(x)], 2)).sum() + m.c(torch.cat([y, y + 1], 2)).sum()
        ),
        1,
        1,
        1,
    ),
    "part_is_returned": (
        lambda: concatenating(
            lambda m, x: (y := m.a(x).mean((2, 3)), torch.cat([y, m.b(x).mean((2, 3))], 0))
        ),
        1,
        0,
        1,
    ),
    "part_is_read_later": (
        lambda: concatenating(lambda m, x: m.c(torch.cat([y := m.a(x), m.b(x)], 2)).sum() + F.relu(y).sum()),
        1,
        1,
        0,
    ),
    "of_a_concatenation": (
        lambda: concatenating(lambda m, x: m.c(torch.cat([torch.cat([m.a(x), m.b(x)], 2), m.a(x * 2)], 2))),
        1,
        2,
        0,
    ),
    "written_over": (
        lambda: concatenating(
            lambda m, x: m.c((z := torch.cat([y := m.a(x), m.b(x)], 2)) + z).sum() + y.sum()
        ),
        1,
        1,
        0,
    ),
}


@pytest.mark.parametrize("name", CONCATENATIONS)
def test_concatenation_copies_only_what_cannot_be_made_in_its_place(name: str) -> None:
    torch.manual_seed(0)
    make, batch, joined, copied = CONCATENATIONS[name]
    module, image = make().eval(), torch.randn(batch, 3, 11, 9)
    network = lowered(module, image)
    assert_agrees(module, network, image)
    plan = memory_plan(network, CORE)
    assert len(plan.needless) == joined
    assert [kernel.kind for kernel in executed(network, plan)].count("concat") == copied
    assert not [kernel for kernel in network.kernels if "transpose" in kernel.name]
