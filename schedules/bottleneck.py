"""Bottleneck: expansion, depthwise convolution and projection as one kernel, in strips of output rows.

The expanded tensor never exists whole. A strip's part of it is made `group` channels at a time, and goes
through the depthwise convolution while it is in the cache; rows that the next strip needs again stay in a
ring of rows and are not computed twice. The expansion is a pointwise convolution, the network's stem (a
convolution that reads the image), or nothing (a separable pair). Every stage is a kernel of its own kind.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

from tvm import ir, te, tirx
from tvm.s_tir.stmt import SBlock, SBlockRealize
from tvm.tirx import PrimFunc, Stmt

from schedules import conv, depthwise, pointwise
from schedules.kernel import CHANNEL_MULTIPLE, Decisions, Workload, round_up
from schedules.strips import Taps, border_taps, by_run, kept, loop, placed, stage, substituted, whole
from schedules.window import Window
from targets.cores import Core

KIND = "bottleneck"

BYTES = 4
Clamp = tuple[float, float]
"""The lowest and the highest value that a stage puts out; infinite where it does not clamp."""


@dataclass(frozen=True)
class Expansion:
    """The first stage: a dense convolution, of 1x1 or (the stem) of `window`."""

    inputs: int
    size: tuple[int, int]
    """(height, width) of what it reads."""
    window: Window
    clamp: Clamp
    channels_last: bool
    """Whether it reads [batch, height, width, inputs]; else [batch, inputs, height, width]."""


@dataclass(frozen=True)
class Bottleneck:
    """A chain of convolutions that one kernel computes. A bias is added in each."""

    batch: int
    size: tuple[int, int]
    """(height, width) of what the depthwise convolution reads."""
    middle: int
    """Channels of the depthwise convolution."""
    outputs: int
    window: Window
    """The depthwise convolution's."""
    clamp: Clamp
    """After the depthwise convolution."""
    output_clamp: Clamp
    expansion: Expansion | None
    shortcut: bool
    """Whether a tensor of the output's shape is added at the end."""

    @property
    def output_size(self) -> tuple[int, int]:
        """(height, width) of the output."""
        return self.window.output_size(*self.size)

    @property
    def is_computable(self) -> bool:
        """Whether every output row sees some row of the image."""
        runs = border_taps(self.window, self.size[0], self.output_size[0])
        if self.expansion is not None:
            runs = runs + border_taps(self.expansion.window, self.expansion.size[0], self.size[0])
        return all(run.count > 0 for run in runs)

    def workload(self) -> Workload:
        """The workload: output size, channels in, in the middle and out, and the windows."""
        height, width = self.output_size
        first = self.expansion
        shape = {"h": height, "w": width}
        if first is not None:
            shape["k"] = first.inputs
        shape |= {"c": self.middle, "n": self.outputs, **self.window.shape()}
        if first is not None and first.window.kernel != (1, 1):
            shape["stem"] = first.window.kernel[0]
        if self.shortcut:
            shape["shortcut"] = 1
        per_output = self.middle * (math.prod(self.window.kernel) + self.outputs)
        multiply_adds = height * width * per_output
        if first is not None:
            multiply_adds += math.prod(self.size) * self.middle * first.inputs * math.prod(first.window.kernel)
        return Workload(KIND, shape, self.batch * multiply_adds)


def default(block: Bottleneck, core: Core) -> Decisions:
    """Whether to fuse, rows per strip, and channels per group to use when nothing is tuned for `core`."""
    return {"fused": 1, "rows": 1, "group": 16}


def write(block: Bottleneck, decisions: Decisions, core: Core) -> PrimFunc:
    """The kernel, scheduled for `core`: strips of `rows` output rows, `group` middle channels at a time.

    `rows` must divide the output's height. Parameters: the data [batch, height, width, channels] (a stem's
    image as its expansion says); weight and bias of each stage; the shortcut [batch, height', width',
    outputs] if there is one; the output. Weights are packed in panels of outputs, [panels, ..., outputs of a
    panel]; middle and output channels are filled up with zeros to what the parameters' shapes say.
    """
    return _Writer(block, decisions, core).function()


class _Writer:
    """The stages' tensors and buffers of one kernel, and the loops around them."""

    def __init__(self, block: Bottleneck, decisions: Decisions, core: Core) -> None:
        self.block, self.core = block, core
        self.rows = decisions["rows"]
        first = block.expansion
        self.group = decisions["group"] if first is not None else block.middle
        self.groups = -(-block.middle // self.group)
        self.height, self.width = block.output_size
        self.strips = self.height // self.rows
        reach = (block.window.kernel[0] - 1) * block.window.dilation[0] + 1
        self.ring_rows = min(block.size[0], (self.rows - 1) * block.window.stride[0] + reach)
        self.batch, self.strip, self.g, self.row, self.y, self.strip_row = (
            tirx.Var(name, "int32") for name in ("batch", "strip", "group", "row", "y", "strip_row")
        )

    def function(self) -> PrimFunc:
        block, middle = self.block, self.groups * self.group
        strip = (1, self.rows, self.width, middle)
        self.depthwise_rows = tirx.decl_buffer(strip, "float32", "depthwise_rows")
        self.ring = tirx.decl_buffer(
            (self.groups, self.ring_rows, block.size[1], self.group), "float32", "expanded_rows"
        )
        projection = self._projection()
        depthwise_stages = {run: self._depthwise(run) for run in self._depthwise_runs()}
        expansion_stages = {run: self._expansion(run) for run in self._expansion_runs()}
        params = self._parameters(projection, next(iter(depthwise_stages.values())), expansion_stages)
        group_body: list[Stmt] = []
        if block.expansion is not None:
            group_body.append(
                self._new_rows(
                    lambda row: by_run(
                        row,
                        list(expansion_stages),
                        lambda run: self._place_expansion(expansion_stages[run], run),
                    )
                )
            )
        body = by_run(
            self.y, list(depthwise_stages), lambda run: self._place_depthwise(depthwise_stages[run], run)
        )
        body = substituted(body, self.y, self.strip * self.rows + self.strip_row)
        group_body.append(loop(self.strip_row, 0, self.rows, body))
        body = loop(self.g, 0, self.groups, _sequence(group_body))
        body = loop(self.strip, 0, self.strips, _sequence([body, self._place_projection(projection)]))
        body = loop(self.batch, 0, block.batch, body)
        buffers = [self.depthwise_rows] + ([self.ring] if block.expansion is not None else [])
        body = _sequence([*map(kept, buffers), body])
        root = SBlockRealize([], True, SBlock([], [], [], "root", body, None, buffers))
        function = PrimFunc(params, root)
        return function.with_attrs({"tirx.noalias": True, "s_tir": True, "tirx.is_scheduled": True})

    def _new_rows(self, body: Callable[[tirx.Var], Stmt]) -> Stmt:
        """`body` for the rows of the expansion that a strip is the first to need."""
        window, height = self.block.window, self.block.size[0]
        reach = (window.kernel[0] - 1) * window.dilation[0] + 1
        advance = self.rows * window.stride[0]
        first_stop = (self.rows - 1) * window.stride[0] - window.padding[0] + reach
        if self.strips == 1:
            return loop(self.row, 0, min(first_stop, height), body(self.row))
        count = max(first_stop, advance)
        step = tirx.Var("step", "int32")
        tests = []
        if first_stop < count:
            tests.append(self.row >= 0)
        if (self.strips - 1) * advance + first_stop > height:
            tests.append(self.row < height)
        if advance < count:
            tests.append(tirx.Or(self.strip == 0, step >= count - advance))
        inner = body(self.row)
        if tests:
            inner = tirx.IfThenElse(functools.reduce(tirx.And, tests), inner, None)
        row = self.strip * advance + step + (first_stop - count)
        return loop(step, 0, count, substituted(inner, self.row, row))

    # -- Stages ------------------------------------------------------------------------------------------

    def _expansion_runs(self) -> list[Taps]:
        first = self.block.expansion
        return [] if first is None else border_taps(first.window, first.size[0], self.block.size[0])

    def _depthwise_runs(self) -> list[Taps]:
        return border_taps(self.block.window, self.block.size[0], self.height)

    def _expansion(self, run: Taps) -> PrimFunc:
        """A row of the expansion, of one group of channels."""
        first = self.block.expansion
        assert first is not None
        bias = te.placeholder((self.group,), name="expansion_bias")
        if first.window.kernel == (1, 1) and first.channels_last:
            data = te.placeholder((1, 1, first.size[1], first.inputs), name="data")
            weight = te.placeholder((first.inputs, self.group), name="expansion_weight")
            total = pointwise.define(data, weight, self.group, first.window.stride)
            return stage(pointwise, [data, weight, bias, _finished(total, bias, first.clamp)], self.core)
        height, width = first.size
        shape = (1, height, width, first.inputs) if first.channels_last else (1, first.inputs, height, width)
        data = te.placeholder(shape, name="data")
        weight = te.placeholder((run.count, first.window.kernel[1], first.inputs, self.group), name="weight")
        seen = _rows_seen(data, self.row, run, first.window, 1 if first.channels_last else 2)
        row_window = _row_window(first.window, run)
        total = conv.define(seen, weight, self.group, row_window, 1, first.channels_last)
        tensors = [data, weight, bias, _finished(total, bias, first.clamp), self.row]
        return stage(conv, tensors, self.core)

    def _depthwise(self, run: Taps) -> PrimFunc:
        """A row of the depthwise convolution, of one group of channels."""
        block = self.block
        ring = block.expansion is not None
        height = self.ring_rows if ring else block.size[0]
        data = te.placeholder((1, height, block.size[1], self.group), name="rows")
        weight = te.placeholder((run.count, block.window.kernel[1], self.group), name="weight")
        bias = te.placeholder((self.group,), name="bias")
        seen = _rows_seen(data, self.y, run, block.window, 1, height if height < block.size[0] else None)
        total = depthwise.define(seen, weight, _row_window(block.window, run))
        return stage(
            depthwise, [data, weight, bias, _finished(total, bias, block.clamp), self.y], self.core
        )

    def _projection(self) -> PrimFunc:
        """The strip's output, from all its middle channels."""
        block, middle = self.block, self.groups * self.group
        data = te.placeholder((1, self.rows, self.width, middle), name="depthwise_rows")
        weight = te.placeholder((middle, round_up(block.outputs, CHANNEL_MULTIPLE)), name="weight")
        bias = te.placeholder((block.outputs,), name="bias")
        total = pointwise.define(data, weight, block.outputs, (1, 1))
        result = _finished(total, bias, block.output_clamp)
        if not block.shortcut:
            return stage(pointwise, [data, weight, bias, result], self.core)
        other = te.placeholder(result.shape, name="shortcut")
        added = te.compute(result.shape, lambda *i: result(*i) + other(*i), name="shortcut_add")
        return stage(pointwise, [data, weight, bias, other, added], self.core)

    # -- Where they read and write -------------------------------------------------------------------------

    def _parameters(
        self, projection: PrimFunc, depthwise_stage: PrimFunc, expansions: dict[Taps, PrimFunc]
    ) -> list[tirx.Var]:
        block, middle = self.block, self.groups * self.group
        first = block.expansion
        if first is None:
            data = (block.batch, *block.size, block.middle)
        elif first.channels_last:
            data = (block.batch, *first.size, first.inputs)
        else:
            data = (block.batch, first.inputs, *first.size)
        self.data = tirx.decl_buffer(data, "float32", "data")
        parameters = [self.data]
        if first is not None:
            panel = [int(extent) for extent in next(iter(expansions.values())).params[1].ty.shape]
            panels, columns = panel[0] * self.groups, panel[-1]
            taps = () if len(panel) == 3 else first.window.kernel
            shape = (panels, *taps, first.inputs, columns)
            self.expansion_weight = tirx.decl_buffer(shape, "float32", "expansion_weight")
            self.expansion_bias = tirx.decl_buffer((middle,), "float32", "expansion_bias")
            parameters += [self.expansion_weight, self.expansion_bias]
        shape = (self.groups, *block.window.kernel, self.group)
        self.depthwise_weight = tirx.decl_buffer(shape, "float32", "depthwise_weight")
        self.depthwise_bias = tirx.decl_buffer((middle,), "float32", "depthwise_bias")
        self.projection = [_like(parameter) for parameter in projection.params[1:3]]
        output = (block.batch, self.height, self.width, block.outputs)
        self.outputs = [
            tirx.decl_buffer(output, "float32", name)
            for name in (("shortcut", "output") if block.shortcut else ("output",))
        ]
        return [
            *parameters,
            self.depthwise_weight,
            self.depthwise_bias,
            *self.projection,
            *self.outputs,
        ]

    def _place_expansion(self, function: PrimFunc, run: Taps) -> Stmt:
        first = self.block.expansion
        assert first is not None
        panels, *taps, _, columns = (int(extent) for extent in function.params[1].ty.shape)
        weights = [(self.g * panels, panels)]
        if taps:
            weights += [(run.first, run.count), (0, taps[1])]
            data = [(self.batch, 1)] + whole(self.data)[1][1:]
        else:
            data = [
                (self.batch, 1), (self.row * first.window.stride[0], 1), (0, first.size[1]), (0, first.inputs)
            ]
        ring_row = self.row if self.ring_rows == self.block.size[0] else self.row % self.ring_rows
        return placed(
            function,
            (self.data, data),
            (self.expansion_weight, [*weights, (0, first.inputs), (0, columns)]),
            (self.expansion_bias, [(self.g * self.group, self.group)]),
            (self.ring, [(self.g, 1), (ring_row, 1), (0, self.block.size[1]), (0, self.group)]),
        )

    def _place_depthwise(self, function: PrimFunc, run: Taps) -> Stmt:
        source = (self.data, self.batch) if self.block.expansion is None else (self.ring, self.g)
        channels = (self.g * self.group, self.group)
        kernel_width = self.block.window.kernel[1]
        return placed(
            function,
            (source[0], [(source[1], 1), *whole(source[0])[1][1:]]),
            (
                self.depthwise_weight,
                [(self.g, 1), (run.first, run.count), (0, kernel_width), (0, self.group)],
            ),
            (self.depthwise_bias, [channels]),
            (
                self.depthwise_rows,
                [(0, 1), (self.strip_row, 1), (0, self.width), channels],
            ),
        )

    def _place_projection(self, function: PrimFunc) -> Stmt:
        rows = [(self.batch, 1), (self.strip * self.rows, self.rows), (0, self.width), (0, self.block.outputs)]
        weights = [whole(parameter) for parameter in self.projection]
        outputs = [(output, rows) for output in self.outputs]
        return placed(function, whole(self.depthwise_rows), *weights, *outputs)


def _like(parameter: tirx.Var) -> tirx.Var:
    return tirx.decl_buffer(parameter.ty.shape, "float32", f"projection_{parameter.name}")


def _sequence(statements: list[Stmt]) -> Stmt:
    return statements[0] if len(statements) == 1 else tirx.SeqStmt(statements)


def _rows_seen(
    data: te.Tensor, output: tirx.Var, run: Taps, window: Window, axis: int, ring: int | None = None
) -> te.Tensor:
    """The rows of `data` (along `axis`) that the window's taps `run` see at row `output`."""
    shape = [int(extent) for extent in data.shape]
    shape[axis] = run.count

    def read(*index: ir.Expr) -> ir.Expr:
        row = output * window.stride[0] - window.padding[0] + (run.first + index[axis]) * window.dilation[0]
        row = row if ring is None else row % ring
        return data(*index[:axis], row, *index[axis + 1 :])

    return te.compute(shape, read, name="rows_seen")


def _row_window(window: Window, run: Taps) -> Window:
    """The window that is left of `window` within the rows of `run`."""
    _, left, _, right = window.padding
    return Window(
        (run.count, window.kernel[1]), (1, window.stride[1]), (0, left, 0, right), (1, window.dilation[1])
    )


def _finished(total: te.Tensor, bias: te.Tensor, clamp: Clamp) -> te.Tensor:
    low, high = clamp

    def value(*index: ir.Expr) -> ir.Expr:
        result = total(*index) + bias(index[-1])
        if low > -math.inf:
            result = te.max(result, tirx.const(low, "float32"))
        if high < math.inf:
            result = te.min(result, tirx.const(high, "float32"))
        return result

    return te.compute(total.shape, value, name="finished")
