"""Several scheduled kernels as stages of one: placed on regions of shared buffers, inside common loops."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType

from tvm import ir, te, tirx
from tvm.ir import Range, TensorRegion
from tvm.s_tir import Schedule
from tvm.s_tir.stmt import MatchBufferRegion, SBlock, SBlockRealize
from tvm.tirx import PrimFunc, Stmt
from tvm.tirx.stmt import BufferRegion
from tvm_ffi import structural_map

from schedules.kernel import workload_of
from schedules.window import Window
from targets.cores import Core

Extent = ir.Expr | int
Place = tuple[tirx.Var, Sequence[tuple[Extent, int]]]
"""A region of a buffer: the buffer, and of each axis the first element and how many."""


@dataclass(frozen=True)
class Taps:
    """Neighbouring outputs along an axis that see the same part of a window inside the image."""

    stop: int
    """The first output that is not one of them any more."""
    first: int
    """The first tap inside the image, and then the first that is not any more."""
    last: int

    @property
    def count(self) -> int:
        """Taps inside the image."""
        return self.last - self.first


def border_taps(window: Window, extent: int, outputs: int) -> list[Taps]:
    """The outputs of an axis (height) of `extent`, in runs of the same taps: a border's, the bulk, a border's.

    A run may see no tap at all (its `count` is 0).
    """
    stride, dilation, kernel, before = window.stride[0], window.dilation[0], window.kernel[0], window.padding[0]
    runs: list[Taps] = []
    for output in range(outputs):
        start = output * stride - before
        inside = [tap for tap in range(kernel) if 0 <= start + tap * dilation < extent]
        first, last = (inside[0], inside[-1] + 1) if inside else (0, 0)
        if runs and (runs[-1].first, runs[-1].last) == (first, last):
            runs.pop()
        runs.append(Taps(output + 1, first, last))
    return runs


def stage(kind: ModuleType, tensors: Sequence[te.Tensor | tirx.Var], core: Core) -> PrimFunc:
    """A kernel of `kind` that computes the last of `tensors` from the others, scheduled by default."""
    sch = Schedule(te.create_prim_func(list(tensors)))
    workload = workload_of(sch)
    kind.schedule(sch, kind.default(workload, core))
    return sch.mod["main"]


def placed(function: PrimFunc, *places: Place) -> Stmt:
    """The body of a stage, reading and writing at `places` instead of its parameters.

    Variables among its parameters stay what they are: the loops around it have to bind them.
    """
    root = function.body.block
    buffers = [parameter for parameter in function.params if tirx.buffer.is_buffer_var(parameter)]
    regions = [region(*place) for place in places]
    views = [_anywhere(buffer) for buffer in buffers]
    matches = [MatchBufferRegion(*pair) for pair in zip(views, regions, strict=True)]
    body = _with_buffers(root.body, buffers, views)
    block = SBlock([], regions[:-1], regions[-1:], "stage", body, None, root.alloc_buffers, matches)
    return SBlockRealize([], True, block)


def _anywhere(buffer: tirx.Var) -> tirx.Var:
    """A buffer like `buffer` that may begin at any element of another."""
    return tirx.decl_buffer(buffer.ty.shape, buffer.ty.dtype, buffer.name, offset_factor=1)


def _with_buffers(body: Stmt, buffers: Sequence[tirx.Var], others: Sequence[tirx.Var]) -> Stmt:
    """`body` with each of `buffers` replaced by its counterpart of `others`."""
    pairs = list(zip(buffers, others, strict=True))

    def replace(variable: tirx.Var) -> tirx.Var:
        return next((other for buffer, other in pairs if buffer.same_as(variable)), variable)

    return structural_map(body, (ir.Var, replace))


def region(buffer: tirx.Var, extents: Sequence[tuple[Extent, int]]) -> TensorRegion:
    """A region of `buffer`."""
    return BufferRegion(buffer, [Range.from_min_extent(first, count) for first, count in extents])


def whole(buffer: tirx.Var) -> Place:
    """All of `buffer`."""
    return buffer, [(0, int(extent)) for extent in buffer.ty.shape]


def kept(buffer: tirx.Var) -> Stmt:
    """Has `buffer`, of the function's own, allocated once per call, in which it keeps its contents.

    TVM moves an allocation into the innermost loop that holds all uses, and cuts it down to what it takes for
    used (PlanAndUpdateBufferAllocationLocation, CompactBufferAllocation): a store of one element through a view
    of the whole buffer, outside of the loops, is a use that stops both.
    """
    view, every = _anywhere(buffer), region(*whole(buffer))
    store = tirx.BufferStore(view, tirx.const(0.0, buffer.ty.dtype), [0] * len(buffer.ty.shape))
    block = SBlock([], [], [every], "kept", store, None, [], [MatchBufferRegion(view, every)])
    return SBlockRealize([], True, block)


def loop(variable: tirx.Var, first: Extent, extent: Extent, body: Stmt) -> Stmt:
    """`body` for `extent` values of `variable`, from `first` on."""
    return tirx.For(variable, first, extent, tirx.ForKind.SERIAL, body)


def by_run(position: tirx.Var, runs: Sequence[Taps], body: Callable[[Taps], Stmt]) -> Stmt:
    """`body` of the run that holds `position`."""
    run, *rest = runs
    if not rest:
        return body(run)
    return tirx.IfThenElse(position < run.stop, body(run), by_run(position, rest, body))


def substituted(body: Stmt, variable: tirx.Var, value: ir.Expr) -> Stmt:
    """`body` with `value` in the place of `variable`."""
    return structural_map(body, (ir.Var, lambda found: value if found.same_as(variable) else found))
