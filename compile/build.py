"""From scheduled kernels to a shared library for the board, and what it will need in memory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tvm import ir, relax, transform

from compile.lower import Lowered
from compile.passes.constants import array_of
from targets.cores import Core
from targets.toolchain import link_shared


def build_library(lowered: Lowered, core: Core, output: Path) -> None:
    """Compile the kernels and the Relax VM's program for `core` and link them into `output`."""
    executable = relax.build(lowered.module, target=core.target())
    executable.export_library(str(output), fcompile=_link)


def _link(output: str, objects: Sequence[str], **_options: Any) -> None:
    link_shared([Path(path) for path in objects], Path(output))


def activation_bytes(lowered: Lowered) -> int:
    """Bytes of the activations that live at once, as TVM's static memory plan lays them out.

    The caller's inputs are not counted, outputs are.
    """
    planned = transform.Sequential(
        [
            relax.transform.ToNonDataflow(),
            relax.transform.RemovePurityChecking(),
            relax.transform.CallTIRRewrite(),
            relax.transform.StaticPlanBlockMemory(),
        ]
    )(lowered.module)
    storages: list[int] = []

    def count(expression: ir.Expr) -> None:
        name = getattr(getattr(expression, "op", None), "name", "")
        if name == "relax.memory.alloc_storage":
            storages.append(int(expression.args[0].values[0]))
        elif name == "relax.builtin.alloc_tensor":
            storages.append(_tensor_bytes(expression))

    relax.analysis.post_order_visit(planned["main"], count)
    return sum(storages)


def _tensor_bytes(allocation: ir.Call) -> int:
    extents, dtype = allocation.args[0].values, allocation.args[1].value
    return math.prod(int(extent) for extent in extents) * np.dtype(str(dtype)).itemsize


def weight_bytes(lowered: Lowered) -> int:
    """Bytes of the constants that the network reads, as packed."""
    sizes: list[int] = []

    def count(expression: ir.Expr) -> None:
        value = array_of(expression)
        if value is not None:
            sizes.append(value.nbytes)

    relax.analysis.post_order_visit(lowered.module["main"], count)
    return sum(sizes)
