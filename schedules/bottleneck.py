"""Bottleneck: expansion, depthwise convolution and projection as one kernel, in strips of output rows.

The expanded tensor never exists whole. A strip's part of it is made one group of channels at a time, and goes
through the depthwise convolution while it is in the cache; rows that the next strip needs again stay in a
ring of rows and are not computed twice. The expansion is a pointwise convolution, the network's stem (a
convolution that reads the image), or nothing (a separable pair).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence

from tvm import ir, tirx
from tvm.s_tir import Schedule
from tvm.s_tir.stmt import SBlock, SBlockRealize
from tvm.tirx import PrimFunc, Stmt

from schedules import stages
from schedules.block import BYTES, KIND, Bottleneck, Plan
from schedules.camera import rows_of as camera_rows
from schedules.kernel import CHANNEL_MULTIPLE, LANES, Decisions, Workload, round_up, workload_of
from schedules.space import Decider
from schedules.strips import Place, by_run, extents_of, loop, placed, sequence, substituted, whole
from schedules.window import Taps
from schedules.workspace import with_workspace
from targets.cores import Core

__all__ = ["KIND", "decide", "is_better_fused", "schedule"]


GROUPS = (16, 8, 32)
"""Middle channels of a group, best first: 16 are a cache line of 64 bytes for each pixel."""
NARROW_GROUPS = (8, 16, 32)
"""Where one panel of the expansion is better: after a stem, whose window's scalars stay in registers so, and
on cores of two FMA pipes or more.
"""
ADVANCE = 2
"""Rows of the expansion that a narrow strip adds: a group of them, and of those it reads again, fits L1."""
WIDE_STRIPS = 8
"""Output rows of the widest strip in the space, but for the whole image."""


def is_better_fused(block: Bottleneck, core: Core) -> bool:
    """Whether one kernel is better than one for each stage when nothing is tuned for `core`.

    Not where there is nothing to gain: what would be between the kernels stays in L1 anyway, or it is not
    less by fusing (no expansion, and one strip).
    """
    is_small = max(_between(block)) <= core.l1d_kib * 1024
    strip = Plan(block, _rows(block, _groups(block, core)[0], core)[0], _groups(block, core)[0])
    return (block.expansion is not None or strip.strips > 1) and not is_small


def decide(workload: Workload, core: Core, decider: Decider) -> Decisions:
    """Rows per strip, channels per group, and the decisions of every stage.

    One strip with all channels in a group is every stage on its own, one after the other.
    """
    block = Bottleneck.read(workload.description)
    group = decider.choose("group", _groups(block, core))
    rows = decider.choose("rows", _rows(block, group, core))
    return {"rows": rows, "group": group, **stages.decide(Plan(block, rows, group), core, decider)}


def _groups(block: Bottleneck, core: Core) -> list[int]:
    whole = round_up(block.middle, CHANNEL_MULTIPLE)
    if block.expansion is None:
        return [whole]
    is_narrow = core.fma_per_cycle > 1 or not block.expansion.is_pointwise
    best: Sequence[int] = NARROW_GROUPS if is_narrow else GROUPS
    wide = core.vector_lanes("float32")
    if wide > LANES:  # as in a pointwise kernel, two vectors to a panel
        best = sorted(best, key=lambda group: abs(group - 2 * wide))
    return list(dict.fromkeys(min(each, whole) for each in (*best, whole)))


def _rows(block: Bottleneck, group: int, core: Core) -> list[int]:
    """Narrow strips and one strip that is the whole image, first whichever sends less past the second-level
    cache; then the others up to WIDE_STRIPS. A camera's image in one strip would be whole planes of floats.
    """
    height = block.output_size[0]
    tallest = WIDE_STRIPS if block.reads_frames else height
    divisors = [rows for rows in range(1, height + 1) if height % rows == 0]
    narrow = max(rows for rows in divisors if rows <= max(1, ADVANCE // block.window.stride[0]))
    ends = [rows for rows in (narrow, height) if rows <= tallest]
    best = sorted(ends, key=lambda rows: _overflow(Plan(block, rows, group), core))
    return list(dict.fromkeys([*best, *(rows for rows in divisors if rows <= WIDE_STRIPS)]))


def _between(block: Bottleneck) -> tuple[int, int]:
    """Bytes of the expanded tensor, if there is one, and of the depthwise convolution's output."""
    expanded, convolved = (BYTES * block.middle * math.prod(size) for size in (block.size, block.output_size))
    return expanded if block.expansion is not None else 0, convolved


def _overflow(plan: Plan, core: Core) -> int:
    """About how many bytes go past the second-level cache that would not if it were large enough."""
    block, room = plan.block, core.l2_kib * 1024
    expanded, convolved = _between(block)
    if plan.strips == 1:
        data = BYTES * math.prod(block.data_shape)
        group = expanded // plan.groups
        again = data * (plan.groups - 1) if data + group > room else 0
        return again + 2 * convolved * (convolved > room) + 2 * expanded * (group > room)
    if plan.weight_bytes + plan.workspace_bytes <= room:
        return 0
    weights = plan.weight_bytes * (plan.strips - 1)
    kept_rows = expanded * (plan.ring_rows - plan.advance) // plan.advance
    return weights + (kept_rows + 2 * convolved) * (plan.workspace_bytes > room)


def schedule(sch: Schedule, decisions: Decisions) -> None:
    """Put the kernel in strips in the place of its definition (chain.py): `rows` output rows at a time,
    `group` middle channels at a time. `rows` divides the output's height.

    Weights become packed in panels of outputs, [panels, ..., outputs of a panel]; middle and output channels
    are filled up with zeros to what the parameters' shapes say. After the output come further ones that
    mean nothing, the workspace: `Plan.workspace`.
    """
    workload = workload_of(sch)
    assert workload is not None
    plan = Plan(Bottleneck.read(workload.description), decisions["rows"], decisions["group"])
    written = _Writer(plan, decisions).function()
    sch.state.replace(sch.get_sref(sch.get_sblock("root")), written.body.block)
    # No primitive changes a function's parameters; the loops are those that the schedule now knows.
    main = sch.mod["main"]
    function = PrimFunc(written.params, main.body, main.ret_type, main.attrs)
    function = with_workspace(function, len(plan.workspace))
    sch.mod.update_func(sch.mod.get_global_var("main"), function)


class _Writer:
    """The buffers of one kernel, its stages, and the loops around them."""

    def __init__(self, plan: Plan, decisions: Decisions) -> None:
        block = plan.block
        self.plan, self.block = plan, block
        self.batch, self.strip, self.group, self.strip_row = (
            tirx.Var(name, "int32") for name in ("batch", "strip", "group", "strip_row")
        )
        parts = stages.Stages(plan)
        self.row, self.new_row, self.output_row = parts.row, parts.new_row, parts.output_row
        self.expansions, self.depthwise, self.projection = parts.scheduled(decisions)
        self.ring = _buffer("expanded_rows", plan.ring_shape)
        self.strip_buffer = _buffer("depthwise_rows", plan.strip_shape)
        self.data = _buffer("data", block.data_shape, "uint8" if block.reads_frames else "float32")
        self.numbers, self.planes = self._camera()
        self.expansion_weights = self._expansion_weights()
        self.depthwise_weights = [
            _buffer("depthwise_weight", (plan.groups, *block.window.kernel, plan.group)),
            _buffer("depthwise_bias", (plan.middle,)),
        ]
        self.projection_weights = [
            _buffer(f"projection_{parameter.name}", extents_of(parameter))
            for parameter in self.projection.params[1:3]
        ]
        output_shape = (block.batch, *block.output_size, block.outputs)
        names = ("shortcut", "output") if block.shortcut else ("output",)
        self.outputs = [_buffer(name, output_shape) for name in names]

    def _camera(self) -> tuple[list[tirx.Var], tirx.Var | None]:
        """What makes numbers of a camera's pixels, and where they are put."""
        first = self.block.expansion
        if first is None or not first.camera:
            return [], None
        numbers = [_buffer(name, (first.inputs,)) for name in ("scale", "shift")]
        return numbers, _buffer("planes", self.plan.planes_shape)

    def _expansion_weights(self) -> list[tirx.Var]:
        if not self.expansions:
            return []
        first = self.block.expansion
        assert first is not None
        panels, *inner, columns = extents_of(next(iter(self.expansions.values())).params[1])
        taps = () if first.is_pointwise else first.window.kernel
        shape = (panels * self.plan.groups, *taps, inner[-1], columns)
        return [_buffer("expansion_weight", shape), _buffer("expansion_bias", (self.plan.middle,))]

    def function(self) -> PrimFunc:
        """The kernel."""
        stages = [self._depthwise_rows()]
        buffers = [self.strip_buffer]
        if self.expansions:
            stages.insert(0, self._new_rows(self._expansion_row))
            buffers.append(self.ring)
        strip = [loop(self.group, self.plan.groups, sequence(stages)), self._projection_strip()]
        if self.planes is not None:
            strip.insert(0, self._camera_rows(self.planes))
            buffers.append(self.planes)
        image = loop(self.strip, self.plan.strips, sequence(strip))
        body = loop(self.batch, self.block.batch, image)
        root = SBlockRealize([], True, SBlock([], [], [], "root", body))
        weights = [*self.expansion_weights, *self.depthwise_weights, *self.projection_weights]
        return PrimFunc([self.data, *self.numbers, *weights, *self.outputs, *buffers], root)

    def _camera_rows(self, planes: tirx.Var) -> Stmt:
        """The planes of the strip's new rows."""
        plan, first, row = self.plan, self.block.expansion, tirx.Var("row", "int32")
        assert first is not None
        known = (plan.new_rows - plan.advance) * first.window.stride[0]
        is_new = tirx.Or(self.strip == 0, row >= known) if known > 0 and plan.strips > 1 else None
        camera = self.data, *self.numbers
        begin = self._first_new_row * first.window.stride[0] - first.window.padding[0]
        return camera_rows(camera, self.batch, begin, (row, is_new), planes)

    @property
    def _first_new_row(self) -> ir.Expr:
        """The first row of the expansion that the strip may be the first to need."""
        before = self.plan.stop - self.plan.new_rows if self.plan.strips > 1 else 0
        return self.strip * self.plan.advance + before

    def _new_rows(self, body: Callable[[], Stmt]) -> Stmt:
        """`body` for every `row` of the expansion that the strip is the first to need."""
        plan, height = self.plan, self.block.size[0]
        if plan.strips == 1:
            inner = substituted(body(), self.new_row, self.row)
            return loop(self.row, plan.new_rows // plan.expanded_rows, inner)
        count = plan.new_rows
        step = tirx.Var("step", "int32")
        tests = []
        if plan.stop < count:
            tests.append(self.row >= 0)
        if (plan.strips - 1) * plan.advance + plan.stop > height:
            tests.append(self.row < height)
        if plan.advance < count:
            tests.append(tirx.Or(self.strip == 0, step >= count - plan.advance))
        inner = body()
        if tests:
            inner = tirx.IfThenElse(functools.reduce(tirx.And, tests), inner, None)
        inner = substituted(inner, self.new_row, step)
        return loop(step, count, substituted(inner, self.row, self._first_new_row + step))

    def _expansion_row(self) -> Stmt:
        return by_run(self.row, list(self.expansions), self._place_expansion)

    def _place_expansion(self, run: Taps) -> Stmt:
        first = self.block.expansion
        assert first is not None
        rows = self.plan.expanded_rows
        panels, *inner = extents_of(self.expansions[run].params[1])
        weight: list[tuple[object, int]] = [(self.group * panels, panels), *((0, extent) for extent in inner)]
        source = self.data if self.planes is None else self.planes
        data = [(self.batch if self.planes is None else 0, 1), *whole(source)[1][1:]]
        if first.is_pointwise:
            data[1] = (self.row * first.window.stride[0], rows)
        else:
            weight[1] = (run.first, run.count)
        ring_row = self.row if self.plan.ring_rows == self.block.size[0] else self.row % self.plan.ring_rows
        _, _, *row = whole(self.ring)[1]
        return placed(
            self.expansions[run],
            (source, data),
            (self.expansion_weights[0], weight),
            (self.expansion_weights[1], [self._channels]),
            (self.ring, [(self._ring_group, 1), (ring_row, rows), *row]),
        )

    def _depthwise_rows(self) -> Stmt:
        body = by_run(self.output_row, list(self.depthwise), self._place_depthwise)
        row = self.strip * self.plan.rows + self.strip_row
        return loop(self.strip_row, self.plan.rows, substituted(body, self.output_row, row))

    def _place_depthwise(self, run: Taps) -> Stmt:
        source, first = (self.ring, self._ring_group) if self.expansions else (self.data, self.batch)
        weight, bias = self.depthwise_weights
        _, _, *taps = whole(weight)[1]
        width = self.block.output_size[1]
        return placed(
            self.depthwise[run],
            (source, [(first, 1), *whole(source)[1][1:]]),
            (weight, [(self.group, 1), (run.first, run.count), *taps]),
            (bias, [self._channels]),
            (self.strip_buffer, [(0, 1), (self.strip_row, 1), (0, width), self._channels]),
        )

    def _projection_strip(self) -> Stmt:
        _, _, *row = whole(self.outputs[0])[1]
        strip = [(self.batch, 1), (self.strip * self.plan.rows, self.plan.rows), *row]
        weights: Sequence[Place] = [whole(weight) for weight in self.projection_weights]
        outputs: Sequence[Place] = [(output, strip) for output in self.outputs]
        return placed(self.projection, whole(self.strip_buffer), *weights, *outputs)

    @property
    def _ring_group(self) -> object:
        return self.group if self.plan.strips > 1 else 0

    @property
    def _channels(self) -> tuple[object, int]:
        return self.group * self.plan.group, self.plan.group


def _buffer(name: str, shape: Sequence[int], dtype: str = "float32") -> tirx.Var:
    return tirx.decl_buffer(shape, dtype, name)
