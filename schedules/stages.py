"""The stages of a bottleneck, each a kernel of its own kind, for a row or a strip of rows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from types import ModuleType

from tvm import ir, te, tirx
from tvm.s_tir import Schedule
from tvm.tirx import PrimFunc

from schedules import conv, depthwise, pointwise, stem
from schedules.block import Plan
from schedules.chain import added, finished
from schedules.kernel import CHANNEL_MULTIPLE, Decisions, Workload, round_up, workload_of
from schedules.space import Decider, Part, Shared
from schedules.splice import splice
from schedules.window import Taps, Window
from targets.cores import Core


@dataclass(frozen=True)
class Stage:
    """One stage, not scheduled yet: the last of its tensors is computed from the others."""

    part: str
    """What its draws are named after: border and bulk share them."""
    kind: ModuleType
    tensors: list[te.Tensor | tirx.Var]

    @property
    def workload(self) -> Workload:
        """What its kind decides for."""
        workload = workload_of(self._schedule())
        assert workload is not None
        return workload

    def scheduled(self, decisions: Decisions) -> PrimFunc:
        """The kernel, scheduled by `decisions`."""
        sch = self._schedule()
        self.kind.schedule(sch, decisions)
        splice(sch)
        return sch.mod["main"]

    def _schedule(self) -> Schedule:
        return Schedule(te.create_prim_func(self.tensors))


class Stages:
    """All stages of a bottleneck: the expansion and the depthwise convolution once for each of their runs."""

    def __init__(self, plan: Plan) -> None:
        block = plan.block
        self.row, self.new_row, self.output_row = (
            tirx.Var(name, "int32") for name in ("row", "new_row", "output_row")
        )
        read = self.new_row if block.reads_frames else self.row
        self.expansions = {run: expansion_row(plan, run, read) for run in block.expansion_runs}
        self.depthwise = {run: depthwise_row(plan, run, self.output_row) for run in block.depthwise_runs}
        self.projection = projection_strip(plan)

    def scheduled(self, decisions: Decisions) -> tuple[dict[Taps, PrimFunc], dict[Taps, PrimFunc], PrimFunc]:
        """The expansion and the depthwise convolution of each run, and the projection."""
        kernels = {}
        for place, stage in self.by_place().items():
            prefix = f"{place}."
            own = {
                name.removeprefix(prefix): value
                for name, value in decisions.items()
                if name.startswith(prefix)
            }
            kernels[place] = stage.scheduled(own)
        return (
            {run: kernels[_place(stage, run)] for run, stage in self.expansions.items()},
            {run: kernels[_place(stage, run)] for run, stage in self.depthwise.items()},
            kernels[self.projection.part],
        )

    def by_place(self) -> dict[str, Stage]:
        """Every stage under the name of its place, that with most taps before its borders."""
        runs = [*self.expansions.items(), *self.depthwise.items()]
        ordered = sorted(runs, key=lambda item: -item[0].count)
        return {_place(stage, run): stage for run, stage in ordered} | {self.projection.part: self.projection}


@cache
def _workloads(plan: Plan) -> dict[str, tuple[str, ModuleType, Workload]]:
    """Of every place its part, kind and workload: a search asks for them again and again."""
    stages = Stages(plan).by_place()
    return {place: (stage.part, stage.kind, stage.workload) for place, stage in stages.items()}


def decide(plan: Plan, core: Core, decider: Decider) -> Decisions:
    """The decisions of every stage, each named `place.name`. Stages of one part share their draws."""
    shared = Shared(decider)
    return {
        f"{place}.{name}": value
        for place, (part, kind, workload) in _workloads(plan).items()
        for name, value in kind.decide(workload, core, Part(shared, part)).items()
    }


def _place(stage: Stage, run: Taps) -> str:
    """A name for the stage of a run: `depthwise.0to2before1`."""
    return f"{stage.part}.{run.first}to{run.last}before{run.stop}"


def expansion_row(plan: Plan, run: Taps, row: tirx.Var) -> Stage:
    """One group of the expansion: data, weight, bias, result.

    A stem makes one `row`, its last parameter, from the whole image, of which it sees the taps `run`; a
    pointwise expansion makes as many rows as it is given. From a camera's planes a stem makes a row that is
    counted, as they are, from the first that the strip may be the first to need.
    """
    first = plan.block.expansion
    assert first is not None
    bias = te.placeholder((plan.group,), name="bias")
    if first.is_pointwise:
        data = te.placeholder((1, plan.expanded_rows, first.size[1], first.inputs), name="data")
        weight = te.placeholder((first.inputs, plan.group), name="weight")
        total = pointwise.define(data, weight, plan.group, first.window.stride)
        return Stage("expansion", pointwise, [data, weight, bias, finished(total, bias, first.clamp)])
    data = te.placeholder(plan.planes_shape if first.camera else first.data_shape(1), name="data")
    weight = te.placeholder((run.count, first.window.kernel[1], first.inputs, plan.group), name="weight")
    _, left, bottom, right = first.window.padding
    window = replace(first.window, padding=(0, left, bottom, right)) if first.camera else first.window
    seen = _rows_seen(data, row, run, window, 1 if first.channels_last else 2)
    kind = conv if first.channels_last else stem
    total = kind.define(seen, weight, plan.group, _row_window(first.window, run))
    return Stage("expansion", kind, [data, weight, bias, finished(total, bias, first.clamp), row])


def depthwise_row(plan: Plan, run: Taps, row: tirx.Var) -> Stage:
    """One `row` of one group of the depthwise convolution: data, weight, bias, result, `row`.

    The data is a group of the ring, or where there is no expansion the image; `run` says which taps the row
    sees of it.
    """
    block = plan.block
    height = block.size[0] if block.expansion is None else plan.ring_rows
    data = te.placeholder((1, height, block.size[1], plan.group), name="data")
    weight = te.placeholder((run.count, block.window.kernel[1], plan.group), name="weight")
    bias = te.placeholder((plan.group,), name="bias")
    seen = _rows_seen(data, row, run, block.window, 1, height if height < block.size[0] else None)
    total = depthwise.define(seen, weight, _row_window(block.window, run))
    return Stage("depthwise", depthwise, [data, weight, bias, finished(total, bias, block.clamp), row])


def projection_strip(plan: Plan) -> Stage:
    """A strip of the output, from all middle channels: data, weight, bias, the shortcut if any, result."""
    block = plan.block
    data = te.placeholder(plan.strip_shape, name="data")
    weight = te.placeholder((plan.middle, round_up(block.outputs, CHANNEL_MULTIPLE)), name="weight")
    bias = te.placeholder((block.outputs,), name="bias")
    result = finished(pointwise.define(data, weight, block.outputs, (1, 1)), bias, block.output_clamp)
    if not block.shortcut:
        return Stage("projection", pointwise, [data, weight, bias, result])
    other = te.placeholder(result.shape, name="shortcut")
    return Stage("projection", pointwise, [data, weight, bias, other, added(result, other)])


def _rows_seen(
    data: te.Tensor, output: tirx.Var, run: Taps, window: Window, axis: int, ring: int | None = None
) -> te.Tensor:
    """The rows of `data` (along `axis`) that the taps `run` of the window at row `output` see.

    Row n of the image is row n % `ring` of `data`, or row n. Schedules inline it: nothing is copied.
    """
    shape = [int(extent) for extent in data.shape]
    shape[axis] = run.count

    def read(*index: ir.Expr) -> ir.Expr:
        row = output * window.stride[0] - window.padding[0] + (run.first + index[axis]) * window.dilation[0]
        row = row if ring is None else row % ring
        return data(*index[:axis], row, *index[axis + 1 :])

    return te.compute(shape, read, name="rows_seen")


def _row_window(window: Window, run: Taps) -> Window:
    """What is left of `window` on the rows that `run` sees."""
    _, left, _, right = window.padding
    return Window(
        kernel=(run.count, window.kernel[1]),
        stride=(1, window.stride[1]),
        padding=(0, left, 0, right),
        dilation=(1, window.dilation[1]),
    )
