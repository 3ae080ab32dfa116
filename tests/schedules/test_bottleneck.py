"""Bottleneck kernels compute what PyTorch does, strip by strip, at their borders and with odd channels."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import tvm
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F
from tvm.tirx import PrimFunc

from compile.passes.schedule_kernels import laid_out
from schedules.apply import schedule_kernel
from schedules.block import Bottleneck, Expansion, Plan
from schedules.chain import define
from schedules.window import Window
from targets.cores import Core, find_core
from tests.boards import run_kernel

pytestmark = pytest.mark.emulator

CORE = find_core("cortex-a72")
RELU6 = (0.0, 6.0)
LINEAR = (-math.inf, math.inf)
POINT = Window((1, 1))


def same(size: int, stride: int = 1, dilation: int = 1) -> Window:
    side = size // 2 * dilation
    return Window((size, size), (stride, stride), (side,) * 4, (dilation, dilation))


STEM = same(3, 2)


def inverted_residual(inputs, middle, outputs, size, window, batch=1, shortcut=False) -> Bottleneck:
    expansion = Expansion(inputs, size, POINT, RELU6, True)
    return Bottleneck(batch, size, middle, outputs, window, RELU6, LINEAR, expansion, shortcut)


def separable(middle, outputs, size, window, batch=1, shortcut=False) -> Bottleneck:
    return Bottleneck(batch, size, middle, outputs, window, RELU6, RELU6, None, shortcut)


def with_stem(
    middle, outputs, image, window, stem=STEM, channels_last=False, batch=1, camera=False
) -> Bottleneck:
    expansion = Expansion(3, image, stem, RELU6, channels_last, camera)
    size = stem.output_size(*image)
    return Bottleneck(batch, size, middle, outputs, window, RELU6, LINEAR, expansion, False)


def random(*shape: int) -> np.ndarray:
    values = np.random.default_rng(sum(shape)).standard_normal(shape)
    return (values / math.sqrt(math.prod(shape[:-1]))).astype("float32")


class Wanted:
    """Takes any rows and groups, also those that no space would offer."""

    def __init__(self, rows: int, group: int) -> None:
        self.decisions = {"rows": rows, "group": group}

    def choose(self, name: str, candidates) -> int:
        return self.decisions.get(name, candidates[0])


def kernel(block: Bottleneck, rows: int, group: int, core: Core) -> PrimFunc:
    return schedule_kernel(define(block), core, Wanted(rows, group)).function


def assert_agrees(block: Bottleneck, rows: int, group: int, core: Core = CORE) -> None:
    values = arguments_of(block)
    function = kernel(block, rows, group, core)
    packed = [
        laid_out(value, [int(extent) for extent in parameter.ty.shape])
        for value, parameter in zip(values, function.params, strict=False)
    ]
    written = [output_shape(block), *Plan(block, rows, group).workspace]
    results = run_kernel(function, core, [*packed, *(np.full(shape, np.nan, "float32") for shape in written)])
    np.testing.assert_allclose(results[len(packed)], expected(block, values), atol=1e-4, rtol=0)


def output_shape(block: Bottleneck) -> tuple[int, ...]:
    return (block.batch, *block.output_size, block.outputs)


def arguments_of(block: Bottleneck) -> list[np.ndarray]:
    first = block.expansion
    generator = np.random.default_rng(0)
    data = [generator.standard_normal(block.data_shape).astype("float32")]
    if block.reads_frames:
        data = [generator.integers(0, 256, block.data_shape, np.uint8), *(random(3) / 100 for _ in range(2))]
    weights = []
    if first is not None:
        taps = () if first.window.kernel == (1, 1) and first.channels_last else first.window.kernel
        weights += [random(*taps, first.inputs, block.middle), random(block.middle)]
    weights += [random(*block.window.kernel, block.middle), random(block.middle)]
    weights += [random(block.middle, block.outputs), random(block.outputs)]
    shortcut = [random(*output_shape(block))] if block.shortcut else []
    return [*data, *weights, *shortcut]


def expected(block: Bottleneck, values: list[np.ndarray]) -> np.ndarray:
    first = block.expansion
    data, *rest = (torch.from_numpy(value) for value in values)
    if first is None or first.channels_last or first.camera:
        data = data.permute(0, 3, 1, 2)
    if block.reads_frames:
        scale, shift, *rest = rest
        data = data * scale[:, None, None] + shift[:, None, None]
    if first is not None:
        weight, bias, *rest = rest
        weight = weight.reshape(*first.window.kernel, first.inputs, block.middle).permute(3, 2, 0, 1)
        data = convolve(data, weight, bias, first.window, first.clamp)
    weight, bias, *rest = rest
    data = convolve(data, weight.permute(2, 0, 1)[:, None], bias, block.window, block.clamp, block.middle)
    weight, bias, *rest = rest
    data = convolve(data, weight.T[:, :, None, None], bias, POINT, block.output_clamp)
    return (data.permute(0, 2, 3, 1) + sum(rest)).numpy()


def convolve(data, weight, bias, window: Window, clamp, groups=1) -> torch.Tensor:
    top, left, bottom, right = window.padding
    padded = F.pad(data, (left, right, top, bottom))
    total = F.conv2d(padded, weight, bias, window.stride, 0, window.dilation, groups)
    return total if clamp == LINEAR else total.clamp(*clamp)


ONE_SIDED = Window((3, 3), (2, 2), (0, 0, 1, 1))
CASES = [
    (inverted_residual(8, 48, 8, (14, 14), same(3), shortcut=True), 1, 16),
    (inverted_residual(8, 48, 8, (14, 14), same(3), shortcut=True), 2, 16),
    (inverted_residual(8, 48, 8, (14, 14), same(3), shortcut=True), 7, 16),
    (inverted_residual(8, 48, 8, (14, 14), same(3), shortcut=True), 14, 16),
    (inverted_residual(8, 48, 16, (14, 14), same(3, 2)), 1, 8),
    (inverted_residual(8, 48, 16, (14, 14), same(3, 2)), 7, 24),
    (inverted_residual(5, 30, 7, (13, 9), same(3, 2)), 1, 16),
    (inverted_residual(5, 30, 7, (13, 9), same(3)), 13, 16),
    (inverted_residual(5, 30, 7, (12, 10), ONE_SIDED), 2, 16),
    (inverted_residual(8, 16, 8, (1, 1), same(3)), 1, 16),
    (inverted_residual(8, 16, 8, (2, 2), same(3)), 1, 16),
    (inverted_residual(8, 16, 8, (2, 2), same(3, 2)), 1, 8),
    (inverted_residual(8, 16, 8, (12, 15), same(5)), 3, 16),
    (inverted_residual(8, 16, 8, (20, 7), same(3, dilation=3)), 4, 16),
    (inverted_residual(8, 16, 8, (6, 7), same(3), batch=3, shortcut=True), 2, 16),
    (separable(24, 16, (14, 14), same(3)), 1, 16),
    (separable(24, 16, (14, 14), same(3, 2)), 7, 16),
    (separable(27, 9, (9, 11), same(3), shortcut=True), 3, 16),
    (separable(18, 9, (10, 11), same(3, 2), batch=2), 5, 16),
    (with_stem(32, 16, (32, 28), same(3)), 1, 16),
    (with_stem(32, 16, (32, 28), same(3)), 4, 32),
    (with_stem(20, 12, (19, 23), same(3, 2)), 5, 8),
    (with_stem(16, 8, (16, 16), same(3), stem=ONE_SIDED, channels_last=True, batch=2), 2, 16),
    (with_stem(32, 16, (32, 28), same(3), camera=True), 1, 16),
    (with_stem(32, 16, (32, 28), same(3), camera=True), 4, 32),
    (with_stem(20, 12, (19, 23), same(3, 2), camera=True), 5, 8),
    (with_stem(16, 8, (19, 17), same(5), stem=same(7), batch=2, camera=True), 1, 16),
]  # fmt: skip


def name(value) -> str:
    return str(value.workload()) if isinstance(value, Bottleneck) else str(value)


@pytest.mark.parametrize("core", ["cortex-a53", "cortex-a55", "cortex-a72"])
@pytest.mark.parametrize(("block", "rows", "group"), CASES, ids=name)
def test_block_agrees_with_pytorch(block, rows, group, core):
    assert_agrees(block, rows, group, find_core(core))


@settings(max_examples=20, deadline=None, derandomize=True)
@given(data=st.data())
def test_any_block_agrees_with_pytorch(data):
    draw = data.draw
    size = draw(st.integers(1, 15)), draw(st.integers(1, 15))
    inputs, middle, outputs = (draw(st.integers(1, 40)) for _ in range(3))
    window = same(draw(st.sampled_from([3, 5])), draw(st.integers(1, 2)), draw(st.integers(1, 2)))
    batch, shortcut = draw(st.integers(1, 2)), draw(st.booleans())
    block = draw(
        st.sampled_from(
            [
                inverted_residual(inputs, middle, outputs, size, window, batch, shortcut),
                separable(middle, outputs, size, window, batch, shortcut),
                with_stem(middle, outputs, (size[0] + 4, size[1] + 4), window, batch=batch),
                with_stem(middle, outputs, (size[0] + 4, size[1] + 4), window, batch=batch, camera=True),
            ]
        )
    )
    height = block.output_size[0]
    rows = draw(st.sampled_from([rows for rows in range(1, height + 1) if height % rows == 0]))
    core = find_core(draw(st.sampled_from(["cortex-a53", "cortex-a76"])))
    assert_agrees(block, rows, draw(st.sampled_from([8, 16, 24])), core)


def test_kernel_allocates_nothing():
    function = kernel(CASES[0][0], 2, 16, CORE).with_attr("global_symbol", "main")
    built = tvm.tirx.build(tvm.IRModule({"main": function}), target=CORE.target())
    assert "Workspace" not in built.inspect_source("s")


@pytest.mark.parametrize("block", [case[0] for case in CASES[::4]], ids=name)
def test_definition_computes_the_block(block):
    values = arguments_of(block)
    function = define(block).with_attr("global_symbol", "main")
    tensors = [tvm.runtime.tensor(value) for value in [*values, np.zeros(output_shape(block), "float32")]]
    tvm.tirx.build(tvm.IRModule({"main": function}), target="llvm")["main"](*tensors)
    np.testing.assert_allclose(tensors[-1].numpy(), expected(block, values), atol=1e-4, rtol=0)


@pytest.mark.parametrize("block", [case[0] for case in CASES], ids=name)
def test_description_reads_back(block):
    assert Bottleneck.read(block.workload().description) == block
