"""Resizing, class maps and planes compute what PyTorch does, at odd sizes and numbers of channels."""

from __future__ import annotations

from itertools import cycle

import numpy as np
import pytest
import torch
import tvm
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F
from tvm import te
from tvm.tirx import PrimFunc

from schedules import argmax, planar, resize
from schedules.apply import schedule_kernel
from schedules.coordinates import Samples, between, nearest
from schedules.kernel import Workload
from schedules.space import First
from targets.cores import find_core

CORES = [find_core(name) for name in ("a53", "a55", "a72", "a76")]
CHANNELS = (1, 3, 4, 18, 21, 32, 150)
SIZES = (
    ((1, 1), (5, 7)),
    ((33, 33), (65, 65)),
    ((5, 3), (17, 40)),
    ((8, 9), (3, 4)),
    ((7, 16), (7, 33)),
    ((2, 300), (3, 301)),
    ((9, 9), (1, 1)),
)
CASES = [
    (channels, *sizes, align_corners)
    for channels, sizes, align_corners in zip(
        CHANNELS * 2, (*SIZES, *SIZES[3:], *SIZES[:3]), cycle((True, False)), strict=False
    )
]


def run(function: PrimFunc, core, values: list[np.ndarray], shape: tuple[int, ...], dtype="float32"):
    """What the kernel's default schedule for `core` makes of `values`, on this machine."""
    ours = schedule_kernel(function, core).function.with_attr("global_symbol", "main")
    workspace = [
        np.full([int(extent) for extent in parameter.ty.shape], np.nan, "float32")
        for parameter in ours.params[len(values) + 1 :]
    ]
    tensors = [tvm.runtime.tensor(value) for value in (*values, np.full(shape, 99, dtype), *workspace)]
    tvm.tirx.build(tvm.IRModule({"main": ours}), target="llvm")["main"](*tensors)
    return tensors[len(values)].numpy()


def image(channels: int, size: tuple[int, int], batch: int = 1, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((batch, *size, channels)).astype("float32")


def planes(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pixels).permute(0, 3, 1, 2)


def tables(rows: Samples, columns: Samples) -> list[np.ndarray]:
    return [table for each in (rows, columns) for table in (each.neighbours, each.weight)]


def placeholders(values: list[np.ndarray]) -> list[te.Tensor]:
    return [te.placeholder(value.shape, str(value.dtype), "value") for value in values]


@pytest.mark.parametrize(("case", "core"), list(zip(CASES, cycle(CORES), strict=False)), ids=str)
@pytest.mark.parametrize("batch", [1, 2])
def test_bilinear_agrees_with_pytorch(case, core, batch):
    channels, source, target, align_corners = case
    pixels = image(channels, source, batch)
    samples = [between(*extents, align_corners) for extents in zip(source, target, strict=True)]
    values = [pixels, *tables(*samples)]
    tensors = placeholders(values)
    function = te.create_prim_func([*tensors, resize.define_bilinear(*tensors)])
    result = run(function, core, values, (batch, *target, channels))
    expected = F.interpolate(planes(pixels), target, mode="bilinear", align_corners=align_corners)
    np.testing.assert_allclose(planes(result), expected, atol=1e-5)
    function = planar.define_resized(pixels.shape, target)
    result = run(function, core, values, (batch, channels, *target))
    np.testing.assert_allclose(result, expected, atol=1e-5)


@pytest.mark.parametrize(("case", "core"), list(zip(CASES, cycle(CORES), strict=False)), ids=str)
def test_nearest_is_the_pixel_that_pytorch_takes(case, core):
    channels, source, target, _ = case
    pixels = image(channels, source)
    values = [pixels, *(nearest(*extents) for extents in zip(source, target, strict=True))]
    tensors = placeholders(values)
    function = te.create_prim_func([*tensors, resize.define_nearest(*tensors)])
    result = run(function, core, values, (1, *target, channels))
    assert torch.equal(planes(result), F.interpolate(planes(pixels), target, mode="nearest"))


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.integers(1, 700), st.integers(1, 700), st.booleans())
def test_positions_are_those_of_pytorch(source, target, align_corners):
    ramp = torch.arange(source, dtype=torch.float32).reshape(1, 1, 1, source)
    expected = F.interpolate(ramp, (1, target), mode="bilinear", align_corners=align_corners).flatten()
    found = between(source, target, align_corners)
    assert found.first.min() >= 0 and found.second.max() < source
    np.testing.assert_allclose(found.first + found.weight * (found.second - found.first), expected, rtol=1e-6)
    exact = F.interpolate(ramp, (1, target), mode="nearest").flatten()
    assert np.array_equal(nearest(source, target), exact.numpy())


@pytest.mark.parametrize(("case", "core"), list(zip(CASES, cycle(CORES), strict=False)), ids=str)
@pytest.mark.parametrize("dtype", ["int64", "uint8"])
def test_class_map_of_a_resized_image_is_that_of_pytorch(case, core, dtype):
    channels, source, target, align_corners = case
    pixels = image(channels, source, 2)
    rows, columns = (between(*extents, align_corners) for extents in zip(source, target, strict=True))
    function = argmax.define_resized(pixels.shape, target, dtype)
    values = [pixels, *tables(rows, columns.padded(argmax.PIXELS))]
    result = run(function, core, values, (2, *target), dtype)
    logits = F.interpolate(planes(pixels), target, mode="bilinear", align_corners=align_corners)
    assert_same_classes(result, logits)


@pytest.mark.parametrize(("channels", "core"), list(zip(CHANNELS, cycle(CORES), strict=False)), ids=str)
def test_class_map_is_that_of_pytorch(channels, core):
    pixels = image(channels, (6, 35), 2)
    result = run(argmax.define(pixels.shape, "int64"), core, [pixels], (2, 6, 35), "int64")
    assert np.array_equal(result, planes(pixels).argmax(1))


def test_of_equal_classes_the_first_counts():
    pixels = np.round(image(21, (5, 6)) * 2) - 50.0  # few values: most pixels have equal ones
    assert (np.sort(pixels, -1)[..., -1] == np.sort(pixels, -1)[..., -2]).sum() > 10
    result = run(argmax.define(pixels.shape, "int64"), CORES[0], [pixels], (1, 5, 6), "int64")
    assert np.array_equal(result, planes(pixels).argmax(1))
    doubled = np.concatenate([pixels[..., :7]] * 3, -1)
    rows, columns = between(5, 19, True), between(6, 23, True)
    function = argmax.define_resized(doubled.shape, (19, 23), "int32")
    values = [doubled, *tables(rows, columns.padded(argmax.PIXELS))]
    assert run(function, CORES[0], values, (1, 19, 23), "int32").max() < 7


@pytest.mark.parametrize(("channels", "core"), list(zip(CHANNELS, cycle(CORES), strict=False)), ids=str)
@pytest.mark.parametrize("size", [(1, 1), (5, 7), (16, 20), (3, 33)])
def test_planes_are_the_transposed_pixels(channels, core, size):
    pixels = image(channels, size, 2)
    flat = pixels.reshape(2, -1, channels)
    result = run(planar.define(pixels.shape), core, [flat], (2, channels, size[0] * size[1]))
    assert np.array_equal(result.reshape(2, channels, *size), planes(pixels))


def assert_same_classes(result: np.ndarray, logits: torch.Tensor) -> None:
    """Whether the chosen class is the largest, or within rounding of it."""
    chosen = logits.gather(1, torch.from_numpy(result.astype("int64"))[:, None])[:, 0]
    assert (logits.amax(1) - chosen).max() < 1e-5
    assert (torch.from_numpy(result.astype("int64")) != logits.argmax(1)).float().mean() < 0.01


def test_blocks_of_channels_divide_them_where_any_does():
    def block(channels: int) -> int:
        workload = Workload("resize", {"c": channels}, 0)
        return resize.decide(workload, CORES[0], First())["block"]

    assert [block(each) for each in (1, 3, 12, 21, 24, 40, 64)] == [4, 4, 4, 16, 8, 8, 32]
