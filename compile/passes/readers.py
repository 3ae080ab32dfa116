"""What reads each variable of a Relax function."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from tvm import ir, relax


def readers_of(function: relax.Function) -> Mapping[relax.Var, list[ir.Expr]]:
    """The values that read each variable, in order; the function's result counts as one."""
    found: dict[relax.Var, list[ir.Expr]] = defaultdict(list)

    def note(value: ir.Expr) -> None:
        def visit(part: ir.Expr) -> None:
            if isinstance(part, relax.Var):
                found[part].append(value)

        relax.analysis.post_order_visit(value, visit)

    for block in function.body.blocks:
        for binding in block.bindings:
            note(binding.value)
    note(function.body.body)
    return found


def operator(value: ir.Expr | None) -> str:
    """The name of the operator that `value` calls, without `relax.`; empty for anything else."""
    return str(getattr(getattr(value, "op", None), "name", "")).removeprefix("relax.")
