"""Every intermediate tensor gets its place in one block of memory, the arena.

Runs when kernels write into tensors that `main` allocates (after CallTIRRewrite). TVM's StaticPlanBlockMemory
reuses whole storages only, and plans 8.2 MiB for MobileNetV2 at 224 pixels where 5.5 MiB live at once.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from tvm import ir, relax, tirx
from tvm.relax.expr_functor import mutator

from compile.passes.arena import Layout, Lifetime, lay_out
from compile.passes.kernel_parameters import accept_offsets, item_bytes
from compile.passes.rewriter import Rewriter

ALLOCATION = "relax.builtin.alloc_tensor"
VIEWS = frozenset({"relax.reshape"})
"""Operators whose result is the memory of their first argument."""


@ir.transform.module_pass(opt_level=0)
class PlanMemory:
    """Allocate the arena once in `main`, and the intermediate tensors inside it.

    What `main` returns, or hands to anything but a kernel, outlives what can be seen here: it keeps an
    allocation of its own.
    """

    def transform_module(self, module: ir.IRModule, _context: object) -> ir.IRModule:
        """The module with its `main` planned, and its kernels taking tensors inside the arena."""
        main = module.get_global_var("main")
        plan = plan_memory(module[main])
        if not plan.offsets:
            return module
        updated = module.clone()
        for kernel, positions in plan.placed_parameters.items():
            updated.update_func(kernel, accept_offsets(module[kernel], positions))
        updated.update_func(main, _Placer(updated, plan).visit_expr(module[main]))
        return updated


@dataclass(frozen=True)
class Plan:
    """Where the tensors of a `main` lie."""

    offsets: Mapping[relax.Var, int]
    """Of the tensors in the arena, in bytes."""
    arena_bytes: int
    separate_bytes: int
    """Of the tensors with allocations of their own: the network's outputs, mostly."""
    placed_parameters: Mapping[ir.GlobalVar, Collection[int]]
    """The positions at which a kernel is given tensors of the arena."""


def plan_memory(main: relax.Function) -> Plan:
    """Lay out what `main` allocates."""
    seen = _observe(main)
    placed = [var for var in seen.allocated if var not in seen.escaped and seen.uses[var]]
    layout: Layout = lay_out(
        [Lifetime(seen.allocated[var], seen.uses[var][0], seen.uses[var][-1]) for var in placed]
    )
    positions: dict[ir.GlobalVar, set[int]] = defaultdict(set)
    for kernel, arguments in seen.calls:
        positions[kernel] |= {index for index, root in enumerate(arguments) if root in set(placed)}
    return Plan(
        dict(zip(placed, layout.offsets, strict=True)),
        layout.size,
        sum(size for var, size in seen.allocated.items() if var not in set(placed)),
        {kernel: found for kernel, found in positions.items() if found},
    )


@dataclass
class _Observed:
    """What happens to the tensors that `main` allocates, step by step."""

    allocated: dict[relax.Var, int] = field(default_factory=dict)
    """Their bytes."""
    roots: dict[relax.Var, relax.Var] = field(default_factory=dict)
    """The allocation that a variable is, or is a view of."""
    uses: dict[relax.Var, list[int]] = field(default_factory=lambda: defaultdict(list))
    """The steps at which a kernel reads or writes it."""
    escaped: set[relax.Var] = field(default_factory=set)
    calls: list[tuple[ir.GlobalVar, list[relax.Var | None]]] = field(default_factory=list)
    """Kernels, and the allocation behind each argument."""


def _observe(main: relax.Function) -> _Observed:
    seen = _Observed()
    bindings = [binding for block in main.body.blocks for binding in block.bindings]
    for step, binding in enumerate(bindings):
        _observe_binding(seen, step, binding)
    _escape(seen, main.body.body)
    return seen


def _observe_binding(seen: _Observed, step: int, binding: relax.Binding) -> None:
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
        arguments = [roots.get(argument) for argument in value.args]
        seen.calls.append((value.op, arguments))
        for root in (root for root in arguments if root is not None):
            seen.uses[root].append(step)
        for argument in value.args:
            if argument not in roots:
                _escape(seen, argument)
    else:
        _escape(seen, value)


def _escape(seen: _Observed, expression: ir.Expr) -> None:
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


@mutator
class _Placer(Rewriter):
    """Puts the arena before the first of its tensors."""

    def __init__(self, module: ir.IRModule, plan: Plan) -> None:
        super().__init__(module)
        self.plan = plan
        self.arena: relax.Var | None = None

    def visit_var_binding_(self, binding: relax.VarBinding) -> None:
        offset = self.plan.offsets.get(binding.var)
        if offset is None:
            super().visit_var_binding_(binding)
            return
        if self.arena is None:
            size = relax.ShapeExpr([self.plan.arena_bytes])
            self.arena = self.builder_.emit(relax.op.memory.alloc_storage(size, 0, "global", "uint8"), "arena")
        shape, dtype = binding.value.args[:2]
        tensor = relax.op.memory.alloc_tensor(self.arena, offset, shape, dtype)
        super().visit_var_binding_(relax.VarBinding(binding.var, tensor))
