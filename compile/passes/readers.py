"""What reads each variable of a Relax function."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from tvm import ir, relax


def readers_of(function: relax.Function) -> Mapping[relax.Var, list[ir.Expr]]:
    """The values that read each variable, in order; the function's result counts as one."""
    found: dict[relax.Var, list[ir.Expr]] = defaultdict(list)

    values = [binding.value for block in function.body.blocks for binding in block.bindings]
    for value in (*values, function.body.body):
        for variable in variables_of(value):
            found[variable].append(value)
    return found


def variables_of(expression: ir.Expr) -> list[relax.Var]:
    """The variables that an expression reads, as often as it reads them."""
    found: list[relax.Var] = []

    def visit(part: ir.Expr) -> None:
        if isinstance(part, relax.Var):
            found.append(part)

    relax.analysis.post_order_visit(expression, visit)
    return found


def operator(value: ir.Expr | None) -> str:
    """The name of the operator that `value` calls, without `relax.`; empty for anything else."""
    return str(getattr(getattr(value, "op", None), "name", "")).removeprefix("relax.")


def is_to_planes(value: ir.Expr) -> bool:
    """Whether `value` is a transpose from NHWC to NCHW."""
    axes = value.attrs.axes if operator(value) == "permute_dims" else None
    return axes is not None and [int(axis) for axis in axes] == [0, 3, 1, 2]
