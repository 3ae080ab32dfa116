"""Calls of kernels that passes add to the module."""

from __future__ import annotations

from collections.abc import Sequence

from tvm import ir, relax
from tvm.tirx import PrimFunc

OPAQUE = 8
"""OpPatternKind of a kernel that nothing is fused into (tvm/relax/op_attr_types.h)."""


def call_kernel(
    builder: relax.BlockBuilder,
    function: PrimFunc,
    name: str,
    arguments: Sequence[ir.Expr],
    result: relax.TensorType | Sequence[relax.TensorType],
) -> ir.Expr:
    """A call of `function`, which is added to the module under `name`; nothing is fused into it."""
    kernel = builder.add_func(function.with_attr("op_pattern", OPAQUE), name)
    return relax.call_tir(kernel, list(arguments), result)
