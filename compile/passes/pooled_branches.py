"""A branch that is one pixel, spread over the image and concatenated, leaves the concatenation.

DeepLab's image pooling ends so: mean of the image -> 1x1 convolution -> resize -> concat -> 1x1 convolution.
That convolution is the sum of one over each of its inputs; over a spread pixel it is the same everywhere, so
it is computed once, and added where the others are. Neither the spread tensor nor, with a single other
input, a concatenated one is made.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from tvm import ir, relax
from tvm.relax.expr_functor import mutator

from compile.passes.constants import Array, constant
from compile.passes.convolution import Convolution, convolution_of
from compile.passes.readers import operator, readers_of
from compile.passes.resizing import resize_of
from compile.passes.rewriter import Rewriter, with_main_rewritten


@dataclass(frozen=True)
class _Part:
    """An input of the concatenation, and the weights that read it."""

    value: ir.Expr
    """What is read: of a spread pixel, the pixel."""
    weight: Array
    is_pixel: bool


@ir.transform.module_pass(opt_level=0)
class PooledBranches:
    """Take spread pixels out of every concatenation of channels that only a 1x1 convolution reads."""

    def transform_module(self, module: ir.IRModule, _context: object) -> ir.IRModule:
        """The module with its `main` rewritten."""
        return relax.transform.DeadCodeElimination()(with_main_rewritten(module, _Splitter(module)))


@mutator
class _Splitter(Rewriter):
    def __init__(self, module: ir.IRModule) -> None:
        super().__init__(module)
        self.shared = {var for var, readers in readers_of(module["main"]).items() if len(readers) > 1}

    def visit_call_(self, call: ir.Call) -> ir.Expr:
        is_shared = len(call.args) > 0 and call.args[0] in self.shared
        call = self.builder_.normalize(self.visit_expr_post_order(call))
        layer = convolution_of(call, self.value_of)
        if layer is None or not layer.is_pointwise or is_shared:
            return call
        parts = self._parts(layer)
        pixels = [part for part in parts if part.is_pixel]
        rest = [part for part in parts if not part.is_pixel]
        if not pixels or not rest:
            return call
        value = self._convolved(call, rest)
        for part in pixels:
            value = relax.op.add(self.builder_.emit(value), self.builder_.emit(self._convolved(call, [part])))
        return value

    def _parts(self, layer: Convolution) -> list[_Part]:
        """The inputs of the concatenation that `layer` reads; none if it reads no such thing."""
        whole = self.value_of(layer.source)
        if operator(whole) != "concat" or whole.attrs.axis is None or int(whole.attrs.axis) % 4 != 3:
            return []
        values = list(whole.args[0].fields)
        widths = [int(value.ty.shape[3]) for value in values]
        starts = accumulate(widths, initial=0)
        return [
            self._part(value, layer.weight[:, :, start : start + width])
            for value, width, start in zip(values, widths, starts, strict=False)
        ]

    def _part(self, value: ir.Expr, weight: Array) -> _Part:
        resize = resize_of(self.value_of(value))
        is_pixel = resize is not None and resize.source_size == (1, 1)
        return _Part(resize.source if resize is not None and is_pixel else value, weight, is_pixel)

    def _convolved(self, call: ir.Call, parts: list[_Part]) -> ir.Expr:
        """What `call` makes of `parts` alone."""
        data = parts[0].value
        if len(parts) > 1:
            data = self.builder_.emit(relax.op.concat([part.value for part in parts], axis=3))
        weight = constant(np.concatenate([part.weight for part in parts], axis=2))
        return relax.op.nn.conv2d(
            data,
            weight,
            strides=(1, 1) if parts[0].is_pixel else call.attrs.strides,
            data_layout="NHWC",
            kernel_layout="HWIO",
            out_layout="NHWC",
        )
