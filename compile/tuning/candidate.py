"""One point of a kernel's space on its way to a figure: scheduled, built, run, compared, counted."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import tvm
from numpy.typing import NDArray
from tvm import ir
from tvm.tirx import PrimFunc

from compile.passes.schedule_kernels import laid_out
from compile.tuning.task import MAIN, build
from compile.tuning.units import CYCLE
from schedules.apply import schedule_kernel
from schedules.space import Given
from schedules.strips import extents_of
from targets.cores import Core
from targets.emulated.kernel import SYMBOL, Argument, link_kernel, run_kernel
from targets.errors import DeviceError

Draws = Mapping[str, int]
"""A point of a kernel's space (schedules/space.py)."""

TOLERANCE = 1e-4
"""Of the largest number of the result: what differs is the order of the additions."""


@dataclass(frozen=True)
class Figure:
    """What a candidate came to: a figure, or the reason why there is none."""

    seconds: float | None
    """Measured; or CYCLE for each cycle that was estimated. None for a candidate that failed."""
    failure: str = ""


@dataclass(frozen=True)
class Inputs:
    """What every candidate of a kernel is called with, and what it must answer."""

    roles: tuple[str, ...]
    values: tuple[NDArray[Any], ...]
    expected: NDArray[Any]


@lru_cache(maxsize=4)
def inputs_of(text: str, roles: tuple[str, ...]) -> Inputs:
    """Random inputs for the kernel in `text` (a module as JSON), and the result of its definition, which is
    built for this machine and run here.
    """
    module: ir.IRModule = ir.load_json(text)
    function = module[MAIN]
    random = np.random.default_rng(0)
    shapes, dtypes = _types(function)
    values = tuple(
        _drawn(random, shape, dtype, role)
        for shape, dtype, role in zip(shapes, dtypes, roles, strict=True)
        if role != "output"
    )
    result = tvm.runtime.tensor(np.zeros(shapes[-1], dtypes[-1]))
    tvm.tirx.build(module, target="llvm")[MAIN](*map(tvm.runtime.tensor, values), result)
    return Inputs(roles, values, result.numpy())


def _types(function: PrimFunc) -> tuple[list[tuple[int, ...]], list[str]]:
    """Shapes and dtypes of a kernel's tensors."""
    parameters = function.params
    return [extents_of(each) for each in parameters], [str(each.ty.dtype) for each in parameters]


def _drawn(random: np.random.Generator, shape: tuple[int, ...], dtype: str, role: str) -> NDArray[Any]:
    """Weights so small that sums of products keep the size of the data; positions are all the first, and
    pixels any.
    """
    if dtype == "uint8":
        return random.integers(0, 256, shape, np.uint8)
    if np.dtype(dtype).kind in "iu":
        return np.zeros(shape, dtype)
    values = random.standard_normal(shape).astype(dtype)
    inputs = values.size // values.shape[-1] if role == "constant" and values.ndim > 1 else 1
    scaled: NDArray[Any] = values / np.float32(np.sqrt(inputs))
    return scaled


def arguments_of(inputs: Inputs, scheduled: PrimFunc) -> list[Argument]:
    """The tensors of a scheduled kernel: weights packed as it wants them, and its workspace."""
    shapes, dtypes = _types(scheduled)
    roles = [*inputs.roles, *["workspace"] * (len(shapes) - len(inputs.roles))]
    values = [
        *(laid_out(value, shape) for value, shape in zip(inputs.values, shapes, strict=False)),
        *[None] * (len(shapes) - len(inputs.values)),
    ]
    return [Argument(*each) for each in zip(roles, shapes, dtypes, values, strict=True)]


def difference(inputs: Inputs, output: NDArray[Any]) -> str:
    """What is wrong with a result; empty when nothing is."""
    error = np.abs(output - inputs.expected).max(initial=0.0)
    bound = TOLERANCE * max(1.0, float(np.abs(inputs.expected).max(initial=0.0)))
    return "" if error <= bound else f"wrong numbers: off by {error:.1e}, allowed {bound:.1e}"


def scheduled_candidate(
    text: str, roles: tuple[str, ...], draws: Draws, core: Core
) -> tuple[Inputs, PrimFunc]:
    """The kernel in `text` scheduled by `draws`, and what it is to be called with."""
    module: ir.IRModule = ir.load_json(text)
    return inputs_of(text, roles), schedule_kernel(module[MAIN], core, Given(draws)).function


def estimate_candidate(text: str, roles: tuple[str, ...], draws: Draws, core: Core, seconds: float) -> Figure:
    """The estimated cycles of a candidate alone on the emulated board, if it computes the right numbers."""
    inputs, scheduled = scheduled_candidate(text, roles, draws, core)
    with tempfile.TemporaryDirectory(prefix="armature-tune-") as folder:
        scratch = Path(folder)
        build(scheduled, SYMBOL, core).write_to_file(str(scratch / "kernel.o"))
        link_kernel([scratch / "kernel.o"], scratch / "kernel")
        try:
            run = run_kernel(scratch / "kernel", core, arguments_of(inputs, scheduled), seconds)
        except DeviceError as error:
            return Figure(None, str(error))
    wrong = difference(inputs, run.output)
    return Figure(None, wrong) if wrong else Figure(run.estimate.cycles * CYCLE)
