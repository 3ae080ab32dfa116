"""Every intermediate tensor gets its place in one block of memory, the arena.

Runs when kernels write into tensors that `main` allocates (after CallTIRRewrite). TVM's StaticPlanBlockMemory
reuses whole storages only: 8.2 MiB for MobileNetV2 at 224 pixels, of which 5.7 MiB live at once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from tvm import ir, relax
from tvm.relax.expr_functor import mutator

from compile.passes.arena import ALIGNMENT, Lifetime, lay_out
from compile.passes.in_place import overwritable
from compile.passes.joins import joins_of
from compile.passes.kernel_parameters import accept_offsets, allow_aliases
from compile.passes.liveness import KernelCall, Liveness, liveness_of
from compile.passes.rewriter import Rewriter
from compile.passes.side_by_side import SCHEDULED_AS


@dataclass(frozen=True)
class Plan:
    """Where the tensors of a `main` lie."""

    offsets: Mapping[relax.Var, int]
    """Of the tensors in the arena, in bytes."""
    arena_bytes: int
    separate_bytes: int
    """Of the tensors with allocations of their own: the network's outputs, mostly."""
    sizes: Mapping[relax.Var, int]
    """Bytes of every tensor."""
    calls: Sequence[ir.GlobalVar]
    """The kernels that are still called, in order."""
    scheduled_as: Sequence[str]
    """Under which name each of `calls` was scheduled: SideBySide gives some another."""
    inside: Mapping[relax.Var, tuple[relax.Var, int]]
    """Tensors that are parts of one with an allocation of its own: that one, and where, in bytes."""
    placed_parameters: Mapping[ir.GlobalVar, Collection[int]]
    """The positions at which a kernel is given tensors that begin inside an allocation."""
    unaligned_parameters: Mapping[ir.GlobalVar, Collection[int]]
    """Those of them where one does not begin at a multiple of ALIGNMENT."""
    aliased: Collection[ir.GlobalVar]
    """Kernels that write over a tensor which they read."""
    needless: Mapping[relax.Var, ir.GlobalVar]
    """Calls that have nothing to do, by their result, and the kernel: concatenations of tensors that are made
    in their place.
    """

    @property
    def total_bytes(self) -> int:
        """Of all that an inference allocates."""
        return self.arena_bytes + self.separate_bytes


@ir.transform.module_pass(opt_level=0)
class PlanMemory:
    """Allocate the arena once in `main`, and the intermediate tensors inside it.

    What `main` returns, or hands to anything but a kernel, keeps an allocation of its own. Kernels named in
    `in_place` may write over a residual that nobody reads afterwards.
    """

    def __init__(self, in_place: Collection[str] = ()) -> None:
        self.in_place = in_place

    def transform_module(self, module: ir.IRModule, _context: object) -> ir.IRModule:
        """The module with its `main` planned, and its kernels taking tensors inside the arena."""
        plan = plan_memory(module, self.in_place)
        if not plan.offsets and not plan.inside:
            return module
        updated = module.clone()
        for var, positions in plan.placed_parameters.items():
            kernel = allow_aliases(module[var]) if var in plan.aliased else module[var]
            updated.update_func(var, accept_offsets(kernel, positions, plan.unaligned_parameters[var]))
        main = module.get_global_var("main")
        updated.update_func(main, _Placer(updated, plan).visit_expr(module[main]))
        for kernel in set(plan.needless.values()) - set(plan.calls):
            del updated[kernel]
        return updated


def plan_memory(module: ir.IRModule, in_place: Collection[str] = ()) -> Plan:
    """Lay out what the `main` of `module` allocates; `in_place`: as of PlanMemory."""
    main = module["main"]
    seen = liveness_of(main)
    joins = joins_of(module, seen)
    joined = {*joins.places, *(whole for whole, _ in joins.places.values())}
    placed = {var for var in seen.allocated if var not in seen.escaped and seen.uses[var]}
    inside = {part: place for part, place in joins.places.items() if place[0] not in placed}
    placed -= set(inside)
    homes = {var: joins.places.get(var, (var, 0)) for var in placed}
    aliased: set[ir.GlobalVar] = set()
    free = placed - joined
    for call in seen.calls:
        residual = _overwritten(module, seen, call, free) if call.kernel.name_hint in in_place else None
        if residual is not None:
            homes[call.arguments[-1]] = homes[residual]
            aliased.add(call.kernel)
    layout = _lay_out(seen, {var: home for var, (home, _) in homes.items()})
    offsets = {var: layout.offsets[home] + start for var, (home, start) in homes.items()}
    starts = {**offsets, **{part: start for part, (_, start) in inside.items()}}
    calls = [call for call in seen.calls if call.step not in joins.steps]
    unaligned = {var for var, start in starts.items() if start % ALIGNMENT}
    bindings = [binding for block in main.body.blocks for binding in block.bindings]
    return Plan(
        offsets,
        layout.size,
        sum(size for var, size in seen.allocated.items() if var not in starts),
        seen.allocated,
        [call.kernel for call in calls],
        [_scheduled_as(module, call.kernel) for call in calls],
        inside,
        _parameters(calls, starts),
        _parameters(calls, unaligned),
        aliased,
        {bindings[step].var: bindings[step].value.op for step in joins.steps},
    )


def _scheduled_as(module: ir.IRModule, kernel: ir.GlobalVar) -> str:
    return str(module[kernel].attrs.get(SCHEDULED_AS, kernel.name_hint))


def _overwritten(
    module: ir.IRModule, seen: Liveness, call: KernelCall, placed: Collection[relax.Var]
) -> relax.Var | None:
    """The tensor whose memory the output of `call` may take."""
    output = call.arguments[-1]
    if output not in placed or seen.uses[output][0] != call.step or call.arguments.count(output) != 1:
        return None
    for position in overwritable(module[call.kernel]):
        residual = call.arguments[position]
        if (
            residual in placed
            and seen.uses[residual][-1] == call.step
            and call.arguments.count(residual) == 1
            and seen.allocated[residual] == seen.allocated[output]
        ):
            return residual
    return None


@dataclass(frozen=True)
class _HomeLayout:
    offsets: Mapping[relax.Var, int]
    size: int


def _lay_out(seen: Liveness, homes: Mapping[relax.Var, relax.Var]) -> _HomeLayout:
    """Offsets of the homes: each lives as long as any tensor in it."""
    steps: dict[relax.Var, list[int]] = defaultdict(list)
    for var, home in homes.items():
        steps[home] += seen.uses[var]
    order = [var for var in seen.allocated if var in steps]
    layout = lay_out([Lifetime(seen.allocated[var], min(steps[var]), max(steps[var])) for var in order])
    return _HomeLayout(dict(zip(order, layout.offsets, strict=True)), layout.size)


def _parameters(
    calls: Sequence[KernelCall], tensors: Collection[relax.Var]
) -> Mapping[ir.GlobalVar, Collection[int]]:
    """The positions at which each kernel is given one of `tensors`."""
    positions: dict[ir.GlobalVar, set[int]] = defaultdict(set)
    for call in calls:
        positions[call.kernel] |= {index for index, root in enumerate(call.arguments) if root in tensors}
    return defaultdict(set, {kernel: found for kernel, found in positions.items() if found})


@mutator
class _Placer(Rewriter):
    """Puts the arena, and other memory that tensors share, before the first of its tensors."""

    def __init__(self, module: ir.IRModule, plan: Plan) -> None:
        super().__init__(module)
        self.plan = plan
        self.arena: relax.Var | None = None
        self.shared: dict[relax.Var, relax.Var] = {}
        self.wholes = {whole for whole, _ in plan.inside.values()}

    def visit_var_binding_(self, binding: relax.VarBinding) -> None:
        var = binding.var
        if var in self.plan.needless:
            return
        if var in self.plan.offsets:
            if self.arena is None:
                self.arena = self._storage(self.plan.arena_bytes, "arena")
            self._place(binding, self.arena, self.plan.offsets[var])
        elif var in self.plan.inside or var in self.wholes:
            whole, start = self.plan.inside.get(var, (var, 0))
            if whole not in self.shared:
                self.shared[whole] = self._storage(self.plan.sizes[whole], "joined")
            self._place(binding, self.shared[whole], start)
        else:
            super().visit_var_binding_(binding)

    def _storage(self, size: int, name: str) -> relax.Var:
        shape = relax.ShapeExpr([size])
        return self.builder_.emit(relax.op.memory.alloc_storage(shape, 0, "global", "uint8"), name)

    def _place(self, binding: relax.VarBinding, storage: relax.Var, offset: int) -> None:
        tensor = relax.op.memory.alloc_tensor(storage, offset, *binding.value.args[:2])
        super().visit_var_binding_(relax.VarBinding(binding.var, tensor))
