"""Chains of convolutions that one kernel computes better than several become a `bottleneck` kernel.

Recognised on the NHWC graph, before kernels are selected: depthwise convolution -> pointwise convolution,
with the pointwise convolution or the stem before it where nothing else reads what is between, each with its
bias and clamp, and a last addition. Whether a chain is fused is the schedule's decision for the core.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from tvm import ir, relax
from tvm.relax.expr_functor import mutator
from tvm_ffi import structural_equal

from compile.passes.constants import Array, array_of, constant
from compile.passes.convolution import Convolution, convolution_of
from compile.passes.kernel_calls import OPAQUE
from compile.passes.readers import operator, variables_of
from compile.passes.rewriter import Rewriter, with_main_rewritten
from schedules import bottleneck
from schedules.block import Bottleneck, Clamp, Expansion
from schedules.chain import define
from targets.cores import Core

UNCLAMPED = (-math.inf, math.inf)


@dataclass(frozen=True)
class _Layer:
    """A convolution with what is done to its result, value by value."""

    convolution: Convolution
    bias: Array
    clamp: Clamp
    output: relax.Var
    """After the clamp."""


@dataclass(frozen=True)
class _Chain:
    expansion: _Layer | None
    depthwise: _Layer
    projection: _Layer
    shortcut: relax.Var | None
    output: relax.Var


class _Graph:
    """The bindings of a function: what each variable is, and what reads it."""

    def __init__(self, function: relax.Function) -> None:
        self.values: dict[relax.Var, ir.Expr] = {}
        self.readers: dict[relax.Var, list[relax.Var]] = {}
        for block in function.body.blocks:
            for binding in block.bindings:
                self.values[binding.var] = binding.value
                for variable in variables_of(binding.value):
                    self.readers.setdefault(variable, []).append(binding.var)
        for variable in variables_of(function.body.body):
            self.readers.setdefault(variable, []).append(variable)

    def only_reader(self, variable: relax.Var, *operators: str) -> relax.Var | None:
        """What reads `variable` if it is one thing, of `operators`."""
        readers = self.readers.get(variable, [])
        if len(readers) != 1 or readers[0].same_as(variable):
            return None
        return readers[0] if self.operator(readers[0]) in operators else None

    def operator(self, variable: relax.Var) -> str:
        """The name of the operator that makes `variable`."""
        return operator(self.values.get(variable))

    def arguments(self, variable: relax.Var) -> list[ir.Expr]:
        """What the operator that makes `variable` is called with."""
        return list(self.values[variable].args)

    def layers(self) -> Iterator[_Layer]:
        """Every convolution whose data and weights a kernel of ours can read, in order."""
        for variable, value in self.values.items():
            convolution = convolution_of(value, self.values.get)
            if convolution is not None:
                yield self._layer(variable, convolution)

    def _layer(self, variable: relax.Var, convolution: Convolution) -> _Layer:
        channels = convolution.channels
        bias, low, high = np.zeros(channels, np.float32), *UNCLAMPED
        added = self.only_reader(variable, "add")
        if added is not None:
            other = _other(self.arguments(added), variable)
            value = array_of(other)
            if value is not None and value.size == channels and value.shape[-1] == channels:
                variable, bias = added, value.reshape(-1)
        clamped = self.only_reader(variable, "nn.relu")
        if clamped is not None:
            variable, low = clamped, 0.0
        clamped = self.only_reader(variable, "minimum")
        if clamped is not None:
            value = array_of(_other(self.arguments(clamped), variable))
            if value is not None and value.size == 1:
                variable, high = clamped, float(value.reshape(-1)[0])
        return _Layer(convolution, bias, (low, high), variable)

    def chains(self) -> Iterator[_Chain]:
        """The chains of the function, the longest at each place."""
        layers = list(self.layers())
        by_output = {layer.output: layer for layer in layers}
        by_source = {layer.convolution.source: layer for layer in layers}
        for layer in layers:
            if not layer.convolution.is_depthwise:
                continue
            projection = by_source.get(layer.output)
            if projection is None or self._is_shared(layer.output):
                continue
            if not projection.convolution.is_pointwise or projection.convolution.window.stride != (1, 1):
                continue
            expansion = by_output.get(layer.convolution.source)
            if expansion is not None and (
                expansion.convolution.is_depthwise
                or expansion.convolution.groups != 1
                or self._is_shared(expansion.output)
            ):
                expansion = None
            chain = self._finished(expansion, layer, projection)
            if chain is not None:
                yield chain

    def _is_shared(self, variable: relax.Var) -> bool:
        return len(self.readers.get(variable, [])) != 1

    def _finished(self, expansion: _Layer | None, depthwise: _Layer, projection: _Layer) -> _Chain | None:
        output, shortcut = projection.output, None
        added = self.only_reader(output, "add")
        if added is not None:
            other = _other(self.arguments(added), output)
            if isinstance(other, relax.Var) and structural_equal(other.ty, output.ty):
                output, shortcut = added, other
        readers = self.readers.get(output, [])
        if readers and all(self.operator(reader) in ELEMENTWISE for reader in readers):
            return None  # it would be a pass of its own over the output, where a pointwise kernel takes it in
        return _Chain(expansion, depthwise, projection, shortcut, output)


ELEMENTWISE = (
    "add", "multiply", "subtract", "divide", "maximum", "minimum", "nn.relu", "clip", "sigmoid", "tanh",
    "nn.silu", "nn.gelu", "nn.leakyrelu",
)  # fmt: skip
"""Operators that FuseOps puts into the epilogue of the kernel before them."""


@ir.transform.module_pass(opt_level=0)
class GroupBottlenecks:
    """Replace the chains that are better fused on a core by calls of bottleneck kernels."""

    def __init__(self, core: Core) -> None:
        self.core = core

    def transform_module(self, module: ir.IRModule, _context: object) -> ir.IRModule:
        """The module with its `main` calling the kernels, which are added to it."""
        return relax.transform.DeadCodeElimination()(with_main_rewritten(module, _Grouper(module, self.core)))


@mutator
class _Grouper(Rewriter):
    def __init__(self, module: ir.IRModule, core: Core) -> None:
        super().__init__(module)
        self.core = core
        graph = _Graph(module["main"])
        self.choices: dict[ir.Expr, tuple[Bottleneck, _Chain]] = {}
        self.written: dict[Bottleneck, ir.GlobalVar] = {}
        taken: set[relax.Var] = set()
        for chain in graph.chains():
            choice = self._choice(chain, taken)
            if choice is not None:
                taken.add(chain.projection.output)
                self.choices[graph.values[chain.output]] = choice

    def _choice(self, chain: _Chain, taken: set[relax.Var]) -> tuple[Bottleneck, _Chain] | None:
        """What of `chain` is fused, if anything: no layer that ends an earlier one, at `taken`."""
        for block, tried in _descriptions(chain):
            if tried.expansion is not None and tried.expansion.output in taken:
                continue
            if bottleneck.is_better_fused(block, self.core):
                return block, tried
        return None

    def visit_call_(self, call: ir.Call) -> ir.Expr:
        choice = self.choices.get(call)
        return self.visit_expr_post_order(call) if choice is None else self._call(*choice, call)

    def _call(self, block: Bottleneck, chain: _Chain, call: ir.Call) -> ir.Expr:
        if block not in self.written:
            function = define(block).with_attr("op_pattern", OPAQUE)
            self.written[block] = self.builder_.add_func(function, bottleneck.KIND)
        layers = [
            layer for layer in (chain.expansion, chain.depthwise, chain.projection) if layer is not None
        ]
        constants = [value for layer in layers for value in (layer.convolution.kernel_weight, layer.bias)]
        data = [self.visit_expr(each) for each in layers[0].convolution.data]
        arguments = [*data, *map(constant, constants)]
        if chain.shortcut is not None:
            arguments.append(self.visit_expr(chain.shortcut))
        return relax.call_tir(self.written[block], arguments, call.ty)


def _descriptions(chain: _Chain) -> Iterator[tuple[Bottleneck, _Chain]]:
    """What may be fused: the whole chain, or else the depthwise convolution and the projection."""
    yield from _description(chain)
    if chain.expansion is not None:
        yield from _description(_Chain(None, chain.depthwise, chain.projection, chain.shortcut, chain.output))


def _description(chain: _Chain) -> Iterator[tuple[Bottleneck, _Chain]]:
    depthwise, projection = chain.depthwise, chain.projection
    expansion = None
    if chain.expansion is not None:
        layer = chain.expansion.convolution
        expansion = Expansion(
            layer.inputs,
            layer.size,
            layer.window,
            chain.expansion.clamp,
            layer.channels_last,
            layer.camera is not None,
        )
    block = Bottleneck(
        batch=depthwise.convolution.batch,
        size=depthwise.convolution.size,
        middle=depthwise.convolution.channels,
        outputs=projection.convolution.channels,
        window=depthwise.convolution.window,
        clamp=depthwise.clamp,
        output_clamp=projection.clamp,
        expansion=expansion,
        shortcut=chain.shortcut is not None,
    )
    if depthwise.convolution.channels_last and block.is_computable:
        yield block, chain


def _other(arguments: list[ir.Expr], variable: relax.Var) -> ir.Expr:
    first, second = arguments
    return second if first.same_as(variable) else first
