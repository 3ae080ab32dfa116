"""Kernels of each kind with an epilogue, scheduled and run on this machine, beside what PyTorch computes."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
import tvm
from torch.nn import functional as F
from tvm import te, tirx

from compile.passes.schedule_kernels import pack
from schedules import conv, dense, depthwise, pointwise, pool, stem
from schedules.apply import Scheduled, schedule_kernel
from schedules.kernel import CHANNEL_MULTIPLE, round_up
from schedules.window import Window
from targets.cores import Core
from tests.boards import run_kernel


@dataclass(frozen=True)
class Case:
    """One kernel: `data` [N, C, H, W] (or [N, C] for dense), convolved to `channels`."""

    kind: str
    data: tuple[int, ...]
    channels: int = 0
    window: Window = field(default_factory=lambda: Window((1, 1)))
    groups: int = 1
    residual: bool = False
    mode: str = "max"
    counts_padding: bool = True

    def __str__(self) -> str:
        window = self.window
        extra = [word for word in ("residual",) if getattr(self, word)]
        kernel = (
            f"k{window.kernel[0]}x{window.kernel[1]}s{window.stride[0]}p{''.join(map(str, window.padding))}"
        )
        size = "x".join(map(str, self.data))
        return "-".join([self.kind, size, str(self.channels), kernel, f"g{self.groups}", *extra])


def scheduled(case: Case, core: Core) -> Scheduled:
    """The kernel of `case` with bias and ReLU6 (and a residual), scheduled for `core`."""
    return schedule_kernel(function_of(case), core)


def function_of(case: Case) -> tirx.PrimFunc:
    """The kernel of `case`, not scheduled yet."""
    return te.create_prim_func(_tensors(case))


def compiled(case: Case, core: Core, target: object) -> tvm.runtime.Module:
    """That kernel, built for `target`."""
    function = scheduled(case, core).function.with_attr("global_symbol", "main")
    return tvm.tirx.build(tvm.IRModule({"main": function}), target=target)


def assert_agrees(case: Case, core: Core, tolerance: float = 1e-4) -> None:
    """Run the kernel's schedule for `core`, on numbers of size 1: on this machine, or on the emulated
    board where its inner loop is written out for Arm.
    """
    agrees(case, core, scheduled(case, core).function, tolerance)


def agrees(case: Case, core: Core, ours: tirx.PrimFunc, tolerance: float = 1e-4) -> None:
    """The same for a kernel of `case` that was scheduled otherwise."""
    values, expected = prepared(case, ours)
    assert_close(_run(ours, core, values), expected, tolerance)


def assert_close(result: np.ndarray, expected: np.ndarray, tolerance: float = 1e-4) -> None:
    """Hold what a kernel computed against PyTorch's, on numbers of size 1."""
    np.testing.assert_allclose(result, expected, atol=tolerance * max(1.0, np.abs(expected).max()), rtol=0)


def prepared(case: Case, ours: tirx.PrimFunc) -> tuple[list[np.ndarray], np.ndarray]:
    """The parameters of a scheduled kernel of `case`, the last not computed yet, and what that is to be."""
    random = np.random.default_rng(0)
    logical = [tuple(int(n) for n in tensor.shape) for tensor in _tensors(case)]
    *inputs, output = (random.standard_normal(shape).astype("float32") for shape in logical)
    if case.kind in ("pointwise", "conv", "stem", "dense"):
        inputs[1][..., case.channels :] = 0
    laid_out = [
        value if value.shape == (wanted := _shape(parameter)) else pack(value, wanted[-1])
        for value, parameter in zip(inputs, ours.params, strict=False)
    ]
    return [*laid_out, np.full_like(output, np.nan)], _expected(case, inputs)


def _run(function: tirx.PrimFunc, core: Core, values: list[np.ndarray]) -> np.ndarray:
    """The last of `values` after the kernel has run on them."""
    if "pragma_import_llvm" in function.script():
        if shutil.which("qemu-aarch64") is None and not os.environ.get("CI"):
            pytest.skip("qemu-aarch64 is missing (Debian: qemu-user)")
        return run_kernel(function, core, values)[-1]
    module = tvm.IRModule({"main": function.with_attr("global_symbol", "main")})
    tensors = [tvm.runtime.tensor(np.ascontiguousarray(value)) for value in values]
    tvm.tirx.build(module, target="llvm")["main"](*tensors)
    return tensors[-1].numpy()


def _shape(parameter: tirx.Var) -> tuple[int, ...]:
    return tuple(int(extent) for extent in parameter.ty.shape)


def _tensors(case: Case) -> list[te.Tensor]:
    batch, inputs, *size = case.data
    laid_out = case.data if case.kind == "stem" else (batch, *size, inputs)
    data = te.placeholder(laid_out, name="data")
    padded = round_up(case.channels, CHANNEL_MULTIPLE)
    kernel = case.window.kernel
    if case.kind == "pool":
        output = case.window.output_size(*size)
        return [data, pool.define_window(data, case.window, output, case.mode, case.counts_padding)]
    if case.kind == "mean":
        return [data, pool.define_mean(data)]
    if case.kind == "pointwise":
        weight = te.placeholder((inputs, padded), name="weight")
        total = pointwise.define(data, weight, case.channels, case.window.stride)
    elif case.kind == "depthwise":
        weight = te.placeholder((*kernel, inputs), name="weight")
        total = depthwise.define(data, weight, case.window)
    elif case.kind == "stem":
        weight = te.placeholder((*kernel, inputs, padded), name="weight")
        total = stem.define(data, weight, case.channels, case.window)
    elif case.kind == "dense":
        weight = te.placeholder((inputs, padded), name="weight")
        total = dense.define(data, weight, case.channels)
    else:
        padded = padded if case.groups == 1 else case.channels
        weight = te.placeholder((*kernel, inputs // case.groups, padded), name="weight")
        total = conv.define(data, weight, case.channels, case.window, case.groups)
    return [data, weight, *_epilogue(total, case.residual)]


def _epilogue(total: te.Tensor, residual: bool) -> list[te.Tensor]:
    bias = te.placeholder((total.shape[-1],), name="bias")
    added = te.compute(total.shape, lambda *i: total(*i) + bias(i[-1]), name="add")
    capped = te.compute(
        total.shape,
        lambda *i: te.min(te.max(added(*i), tirx.const(0.0, "float32")), tirx.const(6.0, "float32")),
        name="relu6",
    )
    if not residual:
        return [bias, capped]
    other = te.placeholder(total.shape, name="residual")
    return [bias, other, te.compute(total.shape, lambda *i: capped(*i) + other(*i), name="residual_add")]


def _expected(case: Case, values: list[np.ndarray]) -> np.ndarray:
    data, *rest = (torch.from_numpy(value) for value in values)
    if case.kind == "dense":
        total = data @ rest[0][:, : case.channels]
        return _finish(total, rest).numpy()
    if case.kind != "stem":
        data = data.permute(0, 3, 1, 2)
    if case.kind == "mean":
        return data.mean((2, 3), keepdim=True).permute(0, 2, 3, 1).numpy()
    if case.kind == "pool":
        return _pooled(case, data).permute(0, 2, 3, 1).numpy()
    weight, groups = rest[0], case.groups
    if case.kind == "depthwise":
        weight, groups = weight.permute(2, 0, 1)[:, None], data.shape[1]
    else:
        weight = weight.reshape(*case.window.kernel, -1, weight.shape[-1])[..., : case.channels]
        weight = weight.permute(3, 2, 0, 1)
    top, left, bottom, right = case.window.padding
    padded = F.pad(data, (left, right, top, bottom))
    total = F.conv2d(padded, weight, None, case.window.stride, 0, case.window.dilation, groups)
    return _finish(total.permute(0, 2, 3, 1), rest).numpy()


def _finish(total: torch.Tensor, rest: list[torch.Tensor]) -> torch.Tensor:
    _, bias, *residual = rest
    return sum(residual, F.relu6(total + bias))


def _pooled(case: Case, data: torch.Tensor) -> torch.Tensor:
    kernel, stride, padding = case.window.kernel, case.window.stride, case.window.padding[:2]
    if case.mode == "max":
        return F.max_pool2d(data, kernel, stride, padding)
    return F.avg_pool2d(data, kernel, stride, padding, count_include_pad=case.counts_padding)
