"""A stem of a camera's frames: its rows become planes strip by strip, and it computes what PyTorch does."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
import tvm
from torch.nn import functional as F
from tvm import te, tirx

from compile.passes.schedule_kernels import laid_out
from schedules import stem
from schedules.apply import schedule_kernel
from schedules.camera import Camera
from schedules.kernel import CHANNEL_MULTIPLE, round_up
from schedules.window import Window
from schedules.workspace import workspace_of
from targets.cores import find_core
from tests.boards import run_kernel

CASES = {
    "stride 2": ((1, 32, 28, 3), 16, Window((3, 3), (2, 2), (1, 1, 1, 1))),
    "rows that are no strip": ((2, 19, 23, 3), 18, Window((7, 7), (2, 2), (3, 3, 3, 3))),
    "below and on the right": ((1, 17, 9, 3), 8, Window((3, 3), (2, 2), (0, 0, 1, 1))),
    "five channels": ((1, 9, 9, 5), 8, Window((3, 3), (1, 1), (0, 0, 1, 1))),
    "grey, in patches": ((1, 20, 40, 1), 8, Window((4, 4), (4, 4))),
    "dilated": ((1, 14, 21, 3), 24, Window((3, 3), (1, 1), (2, 2, 2, 2), (2, 2))),
    "fewer outputs than a vector": ((1, 12, 12, 3), 3, Window((3, 3), (1, 1), (1, 1, 1, 1))),
}


def kernel(shape: tuple[int, ...], channels: int, window: Window) -> tirx.PrimFunc:
    """Frame, scale, shift, weight, bias, output."""
    frame = te.placeholder(shape, "uint8", name="frame")
    scale, shift = (te.placeholder((shape[3],), name=name) for name in ("scale", "shift"))
    padded = round_up(channels, CHANNEL_MULTIPLE)
    weight = te.placeholder((*window.kernel, shape[3], padded), name="weight")
    total = stem.define_of_frames(Camera(frame, scale, shift), weight, channels, window)
    bias = te.placeholder((channels,), name="bias")
    result = te.compute(total.shape, lambda *i: te.max(total(*i) + bias(i[-1]), tirx.const(0.0, "float32")))
    return te.create_prim_func([frame, scale, shift, weight, bias, result])


@pytest.mark.emulator
@pytest.mark.parametrize("core", ["cortex-a53", "cortex-a76", "generic"])
@pytest.mark.parametrize(("shape", "channels", "window"), CASES.values(), ids=CASES)
def test_stem_of_frames_agrees_with_pytorch(shape, channels, window, core):
    random = np.random.default_rng(0)
    function = schedule_kernel(kernel(shape, channels, window), find_core(core)).function
    extents = [[int(extent) for extent in parameter.ty.shape] for parameter in function.params]
    frame = random.integers(0, 256, shape, np.uint8)
    scale, shift, bias = (random.standard_normal(n).astype("float32") for n in (shape[3], shape[3], channels))
    weight = random.standard_normal((*window.kernel, shape[3], channels)).astype("float32")
    padded = np.pad(weight, [(0, 0)] * 3 + [(0, round_up(channels, CHANNEL_MULTIPLE) - channels)])
    values = [frame, scale / 50, shift, padded, bias]
    given = [laid_out(value, wanted) for value, wanted in zip(values, extents, strict=False)]
    written = [np.full(wanted, np.nan, "float32") for wanted in extents[len(values) :]]
    output = run_kernel(function, find_core(core), [*given, *written])[len(values)]
    numbers = frame.astype("float32") * values[1] + shift
    top, left, bottom, right = window.padding
    image = F.pad(torch.from_numpy(numbers).permute(0, 3, 1, 2), (left, right, top, bottom))
    filters = torch.from_numpy(weight).permute(3, 2, 0, 1)
    expected = F.conv2d(image, filters, torch.from_numpy(bias), window.stride, 0, window.dilation)
    expected = expected.relu().permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(output, expected, atol=1e-5 * np.abs(expected).max(), rtol=0)


@pytest.mark.parametrize("core", ["cortex-a53", "cortex-a76"])
def test_pixels_are_taken_apart_sixteen_at_a_time(core):
    """LLVM makes vectors of the loop over pixels: one load of three, and nothing element by element."""
    chosen = find_core(core)
    function = kernel((1, 64, 64, 3), 16, Window((3, 3), (2, 2), (1, 1, 1, 1)))
    scheduled = schedule_kernel(function, chosen).function.with_attr("global_symbol", "main")
    module = tvm.tirx.build(tvm.IRModule({"main": scheduled}), target=chosen.target())
    source = module.inspect_source("s")
    assert re.search(r"\bld3\b.*\.16b", source) and not re.search(r"\bucvtf\s+s", source)


def test_planes_are_a_strip_of_rows_and_no_more():
    function = schedule_kernel(
        kernel((1, 224, 224, 3), 32, Window((3, 3), (2, 2), (1, 1, 1, 1))), find_core("cortex-a53")
    ).function
    assert workspace_of(function) == 1
    assert [int(extent) for extent in function.params[-1].ty.shape] == [3, 5, 224]
