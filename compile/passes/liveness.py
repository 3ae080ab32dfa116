"""When each tensor that `main` allocates is used: step by step, where kernels write into allocations."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field

from tvm import ir, relax, tirx

from compile.passes.kernel_parameters import item_bytes

ALLOCATION = "relax.builtin.alloc_tensor"
VIEWS = frozenset({"relax.reshape"})
"""Operators whose result is the memory of their first argument."""


@dataclass(frozen=True)
class KernelCall:
    """A kernel that `main` calls at a step, and the allocation behind each argument, None for any other."""

    step: int
    kernel: ir.GlobalVar
    arguments: tuple[relax.Var | None, ...]


@dataclass
class Liveness:
    """What `main` does with what it allocates; a step is the index of a binding."""

    allocated: dict[relax.Var, int] = field(default_factory=dict)
    """The bytes of each allocation."""
    uses: dict[relax.Var, list[int]] = field(default_factory=lambda: defaultdict(list))
    """The steps at which a kernel reads or writes it, itself or through a view."""
    escaped: set[relax.Var] = field(default_factory=set)
    """What is returned, or handed to anything but a kernel: it may outlive what can be seen here."""
    calls: list[KernelCall] = field(default_factory=list)
    roots: dict[relax.Var, relax.Var] = field(default_factory=dict)
    """The allocation that a variable is, or is a view of."""


def liveness_of(main: relax.Function) -> Liveness:
    """Follow the tensors that `main` allocates through its bindings."""
    seen = Liveness()
    bindings = [binding for block in main.body.blocks for binding in block.bindings]
    for step, binding in enumerate(bindings):
        _follow(seen, step, binding)
    _escape(seen, main.body.body)
    return seen


def _follow(seen: Liveness, step: int, binding: relax.Binding) -> None:
    value, roots = binding.value, seen.roots
    operator = getattr(getattr(value, "op", None), "name", "")
    if operator == ALLOCATION and (size := _tensor_bytes(value)) is not None:
        seen.allocated[binding.var] = size
        roots[binding.var] = binding.var
    elif isinstance(value, relax.Var) and value in roots:
        roots[binding.var] = roots[value]
    elif operator in VIEWS and value.args[0] in roots:
        roots[binding.var] = roots[value.args[0]]
    elif isinstance(value, ir.Call) and isinstance(value.op, ir.GlobalVar):
        _follow_kernel(seen, step, value)
    else:
        _escape(seen, value)


def _follow_kernel(seen: Liveness, step: int, call: ir.Call) -> None:
    arguments = tuple(seen.roots.get(argument) for argument in call.args)
    seen.calls.append(KernelCall(step, call.op, arguments))
    for argument, root in zip(call.args, arguments, strict=True):
        if root is not None:
            seen.uses[root].append(step)
        else:
            _escape(seen, argument)


def _escape(seen: Liveness, expression: ir.Expr) -> None:
    def mark(part: ir.Expr) -> None:
        if isinstance(part, relax.Var) and part in seen.roots:
            seen.escaped.add(seen.roots[part])

    relax.analysis.post_order_visit(expression, mark)


def _tensor_bytes(allocation: ir.Call) -> int | None:
    """The size of what is allocated, where it is known."""
    extents = allocation.args[0].values
    if not all(isinstance(extent, tirx.IntImm) for extent in extents):
        return None
    return math.prod(int(extent) for extent in extents) * item_bytes(str(allocation.args[1].value))
