"""A channel shuffle goes where it costs nothing, or less: into a convolution's weights, or behind a stride.

In NCHW a shuffle is reshape [n, g, c / g, h, w] -> transpose of g and c / g -> reshape. A convolution over
all channels can make its outputs in any order, so a shuffle of them is one of its weights. A depthwise
convolution works channel by channel, so what it reads may be shuffled after it: with a stride there is less
to move.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from tvm import ir, relax
from tvm.relax.expr_functor import mutator

from compile.passes.constants import Array, array_of, constant
from compile.passes.convolution import pair
from compile.passes.readers import operator, readers_of
from compile.passes.rewriter import Rewriter

UNARY = {"nn.relu", "nn.leakyrelu", "nn.silu", "sigmoid", "tanh", "clip"}
BINARY = {"add", "subtract", "multiply", "divide", "minimum", "maximum"}
"""With a constant as the other operand, a number or one for each channel."""


@dataclass(frozen=True)
class _Shuffle:
    """Groups of channels, woven."""

    source: relax.Var
    groups: int
    each: int
    """Channels of a group."""

    @property
    def order(self) -> Array:
        """Where each channel of the result comes from."""
        order: Array = np.arange(self.groups * self.each).reshape(self.groups, self.each).T.ravel()
        return order


@relax.transform.function_pass(opt_level=0)
class MoveShuffles:
    """Move every such shuffle that nothing else reads the operands of."""

    def transform_function(
        self, function: relax.Function, module: ir.IRModule, _context: object
    ) -> relax.Function:
        """The function with fewer and smaller shuffles."""
        return _Mover(module, function).visit_expr(function)


@mutator
class _Mover(Rewriter):
    def __init__(self, module: ir.IRModule, function: relax.Function) -> None:
        super().__init__(module)
        self.readers: Mapping[relax.Var, list[ir.Expr]] = readers_of(function)
        self.values = {
            binding.var: binding.value for block in function.body.blocks for binding in block.bindings
        }
        self.variables = {value: variable for variable, value in self.values.items()}
        self.moved: set[relax.Var] = set()
        """What was shuffled, in the function as it was."""

    def visit_call_(self, call: ir.Call) -> ir.Expr:
        found = self._shuffle(call)
        if found is not None:
            chain = self._chain(self._alone(found.source))
            if _is_over_all_channels(chain[0]):
                self.moved.add(found.source)
                return self._reordered(chain, found.order)
            return self.visit_expr_post_order(call)
        chain = self._chain(call)
        if not _is_depthwise_with_stride(chain[0]) or not self._is_convolved(call):
            return self.visit_expr_post_order(call)
        found = self._shuffle(self._alone(chain[0].args[0]))
        if found is None or found.source in self.moved:
            return self.visit_expr_post_order(call)
        unshuffled = self._reordered(chain, np.argsort(found.order), found.source)
        return self._shuffled(self.builder_.emit(unshuffled), found.groups)

    def _alone(self, variable: ir.Expr) -> ir.Expr:
        """What a variable that is read once is bound to; None for anything else."""
        return self.values.get(variable) if len(self.readers.get(variable, ())) == 1 else None

    def _is_convolved(self, call: ir.Call) -> bool:
        """Whether only convolutions read it: to others the layout of a shuffle's result is not theirs."""
        readers = self.readers[self.variables[call]]
        return all(operator(reader) == "nn.conv2d" for reader in readers)

    def _shuffle(self, call: ir.Expr) -> _Shuffle | None:
        """The shuffle whose last step is `call`; None for anything else."""
        if operator(call) != "reshape":
            return None
        swap = self._alone(call.args[0])
        if operator(swap) != "permute_dims" or swap.attrs.axes is None or str(call.ty.dtype) != "float32":
            return None
        split = self._alone(swap.args[0])
        if operator(split) != "reshape":
            return None
        shape, wide = _extents(call), _extents(split)
        is_swap = [int(axis) for axis in swap.attrs.axes] == [0, 2, 1, 3, 4]
        if not is_swap or _extents(split.args[0]) != shape or [wide[0], *wide[3:]] != [shape[0], *shape[2:]]:
            return None
        return _Shuffle(split.args[0], wide[1], wide[2])

    def _chain(self, value: ir.Expr) -> list[ir.Expr]:
        """What works channel by channel up to `value`, last, and what it works on, first."""
        chain = [value]
        while _is_by_channel(chain[0]):
            chain.insert(0, self._alone(chain[0].args[0]))
        return chain

    def _reordered(self, chain: list[ir.Call], order: Array, source: ir.Expr = None) -> ir.Expr:
        """A chain that begins with a convolution, its channels made in `order`; it reads `source`, if any."""
        convolution, *rest = chain
        weight = array_of(convolution.args[1])
        assert weight is not None
        data = self.visit_expr(convolution.args[0] if source is None else source)
        value: ir.Expr = ir.Call(convolution.op, [data, constant(weight[order])], convolution.attrs)
        for call in rest:
            operands = [_of_channels(operand, order) for operand in call.args[1:]]
            value = ir.Call(call.op, [self.builder_.emit(value), *operands], call.attrs)
        return value

    def _shuffled(self, value: relax.Var, groups: int) -> ir.Expr:
        batch, channels, *size = _extents(value)
        split = self.builder_.emit(relax.op.reshape(value, (batch, groups, channels // groups, *size)))
        swapped = self.builder_.emit(relax.op.permute_dims(split, (0, 2, 1, 3, 4)))
        return relax.op.reshape(swapped, (batch, channels, *size))


def _is_by_channel(value: ir.Expr) -> bool:
    """Whether `value` works on each element by itself, and knows no more of it than its channel."""
    if operator(value) in UNARY:
        return True
    if operator(value) not in BINARY or len(value.args[0].ty.shape) != 4:
        return False
    other = array_of(value.args[1])
    return other is not None and (other.size == 1 or _is_channels(other, _extents(value.args[0])[1]))


def _is_channels(value: Array, channels: int) -> bool:
    return value.ndim in (3, 4) and value.size == channels == value.shape[-3]


def _of_channels(operand: ir.Expr, order: Array) -> ir.Expr:
    value = array_of(operand)
    if value is None or not _is_channels(value, len(order)):
        return operand
    return constant(np.take(value, order, axis=-3))


def _is_over_all_channels(call: ir.Expr) -> bool:
    return _is_planar(call) and int(call.attrs.groups) == 1


def _is_depthwise_with_stride(call: ir.Expr) -> bool:
    if not _is_planar(call) or max(pair(call.attrs.strides)) == 1:
        return False
    channels = _extents(call.args[0])[1]
    return int(call.attrs.groups) == channels == _extents(call)[1]


def _is_planar(call: ir.Expr) -> bool:
    """Whether it is a convolution in NCHW with constant weights."""
    if operator(call) != "nn.conv2d" or array_of(call.args[1]) is None:
        return False
    return (call.attrs.data_layout, call.attrs.kernel_layout) == ("NCHW", "OIHW")


def _extents(expression: ir.Expr) -> list[int]:
    return [int(extent) for extent in expression.ty.shape]
