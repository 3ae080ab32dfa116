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

from tvm import tirx
from tvm.s_tir.stmt import SBlock, SBlockRealize
from tvm.tirx import PrimFunc, Stmt

from schedules.block import BYTES, KIND, Bottleneck, Plan
from schedules.kernel import Decisions, mark
from schedules.stages import depthwise_row, expansion_row, projection_strip
from schedules.strips import Place, by_run, extents_of, loop, placed, sequence, substituted, whole
from schedules.window import Taps
from targets.cores import Core

__all__ = ["KIND", "default", "write"]


GROUP = 16
"""Middle channels of a group: a cache line of 64 bytes for each pixel."""
NARROW_GROUP = 8
"""Where one panel of the expansion is better: after a stem, whose window's scalars stay in registers so, and
on cores of two FMA pipes or more.
"""
ADVANCE = 2
"""Rows of the expansion that a narrow strip adds: a group of them, and of those it reads again, fits L1."""


def default(block: Bottleneck, core: Core) -> Decisions:
    """Whether to fuse, rows per strip, and channels per group to use when nothing is tuned for `core`.

    Narrow strips, or one strip that is the whole image: whichever has less go past the second-level cache.
    Not fused where there is nothing to gain: what would be between the kernels stays in L1 anyway, or it is
    not less by fusing (no expansion, and one strip).
    """
    first, height = block.expansion, block.output_size[0]
    is_narrow = core.fma_per_cycle > 1 or (first is not None and not first.is_pointwise)
    group = NARROW_GROUP if is_narrow else GROUP
    wanted = min(height, max(1, ADVANCE // block.window.stride[0]))
    rows = next(rows for rows in range(wanted, 0, -1) if height % rows == 0)
    best = min((Plan(block, rows, group), Plan(block, height, group)), key=lambda plan: _overflow(plan, core))
    is_small = max(_between(block)) <= core.l1d_kib * 1024
    is_split = first is not None or best.strips > 1
    return {"fused": int(is_split and not is_small), "rows": best.rows, "group": group}


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


def write(block: Bottleneck, decisions: Decisions, core: Core) -> PrimFunc:
    """The kernel, scheduled for `core`: strips of `rows` output rows, `group` middle channels at a time.

    `rows` must divide the output's height. Parameters: the data; weight and bias of each stage; the shortcut
    [batch, height', width', outputs] if there is one; the output; and the workspace, as further outputs
    which mean nothing: `Plan.workspace`. Weights are packed in panels of outputs,
    [panels, ..., outputs of a panel]; middle and output channels are filled up with zeros to what the
    parameters' shapes say.
    """
    plan = Plan(block, decisions["rows"], decisions["group"])
    function = _Writer(plan, core).function()
    return mark(function, block.workload())


class _Writer:
    """The buffers of one kernel, its stages, and the loops around them."""

    def __init__(self, plan: Plan, core: Core) -> None:
        block = plan.block
        self.plan, self.block = plan, block
        self.batch, self.strip, self.group, self.row, self.output_row, self.strip_row = (
            tirx.Var(name, "int32") for name in ("batch", "strip", "group", "row", "output_row", "strip_row")
        )
        self.expansions = {run: expansion_row(plan, run, self.row, core) for run in block.expansion_runs}
        self.depthwise = {
            run: depthwise_row(plan, run, self.output_row, core) for run in block.depthwise_runs
        }
        self.projection = projection_strip(plan, core)
        self.ring = _buffer("expanded_rows", plan.ring_shape)
        self.strip_buffer = _buffer("depthwise_rows", plan.strip_shape)
        self.data = _buffer("data", block.data_shape)
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
        """The kernel, not marked yet."""
        stages = [self._depthwise_rows()]
        buffers = [self.strip_buffer]
        if self.expansions:
            stages.insert(0, self._new_rows(self._expansion_row))
            buffers.append(self.ring)
        strip = [loop(self.group, self.plan.groups, sequence(stages)), self._projection_strip()]
        image = loop(self.strip, self.plan.strips, sequence(strip))
        body = loop(self.batch, self.block.batch, image)
        root = SBlockRealize([], True, SBlock([], [], [], "root", body))
        weights = [*self.expansion_weights, *self.depthwise_weights, *self.projection_weights]
        function = PrimFunc([self.data, *weights, *self.outputs, *buffers], root)
        return function.with_attrs({"tirx.noalias": True, "s_tir": True, "tirx.is_scheduled": True})

    def _new_rows(self, body: Callable[[], Stmt]) -> Stmt:
        """`body` for every `row` of the expansion that the strip is the first to need."""
        plan, height = self.plan, self.block.size[0]
        if plan.strips == 1:
            return loop(self.row, min(plan.stop, height) // plan.expanded_rows, body())
        count = max(plan.stop, plan.advance)
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
        row = self.strip * plan.advance + step + (plan.stop - count)
        return loop(step, count, substituted(inner, self.row, row))

    def _expansion_row(self) -> Stmt:
        return by_run(self.row, list(self.expansions), self._place_expansion)

    def _place_expansion(self, run: Taps) -> Stmt:
        first = self.block.expansion
        assert first is not None
        rows = self.plan.expanded_rows
        panels, *inner = extents_of(self.expansions[run].params[1])
        weight: list[tuple[object, int]] = [(self.group * panels, panels), *((0, extent) for extent in inner)]
        data = [(self.batch, 1), *whole(self.data)[1][1:]]
        if first.is_pointwise:
            data[1] = (self.row * first.window.stride[0], rows)
        else:
            weight[1] = (run.first, run.count)
        ring_row = self.row if self.plan.ring_rows == self.block.size[0] else self.row % self.plan.ring_rows
        _, _, *row = whole(self.ring)[1]
        return placed(
            self.expansions[run],
            (self.data, data),
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


def _buffer(name: str, shape: Sequence[int]) -> tirx.Var:
    return tirx.decl_buffer(shape, "float32", name)
