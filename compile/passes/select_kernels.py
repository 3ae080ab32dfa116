"""Operators that Armature schedules itself are written as that kind's kernel; the rest are left to TVM.

Works on the NHWC graph. An operator is taken when its weights are constants and its form is one that a
kind knows; weights are padded to CHANNEL_MULTIPLE outputs here, and packed when scheduled.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from tvm import ir, relax, tirx
from tvm.relax.expr_functor import mutator

from compile.passes.constants import Array, array_of, constant
from compile.passes.convolution import convolution_of, pair, sides
from compile.passes.rewriter import Rewriter
from schedules import conv, dense, depthwise, pointwise, pool
from schedules.kernel import CHANNEL_MULTIPLE, round_up
from schedules.window import Window

OUT_ELEMENTWISE_FUSABLE = 4
"""OpPatternKind of a kernel that takes element-wise work into its epilogue (tvm/relax/op_attr_types.h)."""


@ir.transform.module_pass(opt_level=0)
class SelectKernels:
    """Replace operators by calls of kernels, which are added to the module."""

    def transform_module(self, module: ir.IRModule, _context: object) -> ir.IRModule:
        """The module with its `main` calling kernels of our kinds."""
        selector = _Selector(module)
        main = module.get_global_var("main")
        selector.builder_.update_func(main, selector.visit_expr(module[main]))
        return selector.builder_.get()


@mutator
class _Selector(Rewriter):
    def visit_call_(self, call: ir.Call) -> ir.Expr:
        call = self.builder_.normalize(self.visit_expr_post_order(call))
        name = getattr(call.op, "name", "")
        if name not in SELECTORS or not _is_static_float(call):
            return call
        kernel = SELECTORS[name](self.builder_, call)
        return call if kernel is None else kernel


def _emit(
    builder: relax.BlockBuilder, define: Callable[..., object], tensors: list[ir.Expr], *settings: object
) -> ir.Expr:
    """A call of the kernel that `define(*tensors, *settings)` writes, named for its kind."""
    return builder.call_te(
        lambda *placeholders: define(*placeholders, *settings),
        *tensors,
        primfunc_name_hint=define.__module__.rpartition(".")[2],
        primfunc_attrs={"op_pattern": OUT_ELEMENTWISE_FUSABLE},
    )


def _convolution(builder: relax.BlockBuilder, call: ir.Call) -> ir.Expr | None:
    """The kernel of an NHWC convolution; a dense one of a transposed image reads the image itself."""
    data = call.args[0]
    layer = convolution_of(call, builder.lookup_binding(data) if isinstance(data, relax.Var) else None)
    if layer is None:
        return None
    window = layer.window
    if layer.is_by_channel:
        if not layer.is_depthwise:
            return None
        return _emit(builder, depthwise.define, [layer.source, constant(layer.kernel_weight)], window)
    if layer.is_pointwise:
        weight = constant(_pad_outputs(layer.kernel_weight))
        return _emit(builder, pointwise.define, [layer.source, weight], layer.channels, window.stride)
    tensors = [layer.source, constant(_pad_outputs(layer.weight))]
    return _emit(builder, conv.define, tensors, layer.channels, window, layer.groups, layer.channels_last)


def _product(builder: relax.BlockBuilder, call: ir.Call) -> ir.Expr | None:
    weight = array_of(call.args[1])
    if weight is None or weight.ndim != 2 or len(call.args[0].ty.shape) != 2:
        return None
    return _emit(builder, dense.define, [call.args[0], constant(_pad_outputs(weight))], weight.shape[1])


def _mean(builder: relax.BlockBuilder, call: ir.Call) -> ir.Expr | None:
    axes = sorted(int(axis) for axis in call.attrs.axis or ())
    if axes != [1, 2] or len(call.args[0].ty.shape) != 4:
        return None
    mean = _emit(builder, pool.define_mean, [call.args[0]])
    return mean if call.attrs.keepdims else relax.op.reshape(builder.emit(mean), call.ty.shape)


def _adaptive_mean(builder: relax.BlockBuilder, call: ir.Call) -> ir.Expr | None:
    is_global = _extents(call)[1:3] == (1, 1)
    if call.attrs.layout != "NHWC" or not is_global:
        return None
    return _emit(builder, pool.define_mean, [call.args[0]])


def _window_pool(mode: str) -> Callable[[relax.BlockBuilder, ir.Call], ir.Expr | None]:
    def select(builder: relax.BlockBuilder, call: ir.Call) -> ir.Expr | None:
        attrs = call.attrs
        if attrs.layout != "NHWC" or pair(attrs.dilation) != (1, 1):
            return None
        window = Window(
            kernel=pair(attrs.pool_size),
            stride=pair(attrs.strides),
            padding=sides(attrs.padding),
        )
        _, height, width, _ = _extents(call.args[0])
        if window.output_size(height, width) != _extents(call)[1:3]:
            return None  # ceil_mode adds a row or a column that lies partly outside
        return _emit(builder, pool.define_window, [call.args[0]], window, mode, bool(attrs.count_include_pad))

    return select


SELECTORS: dict[str, Callable[[relax.BlockBuilder, ir.Call], ir.Expr | None]] = {
    "relax.nn.conv2d": _convolution,
    "relax.matmul": _product,
    "relax.mean": _mean,
    "relax.nn.adaptive_avg_pool2d": _adaptive_mean,
    "relax.nn.max_pool2d": _window_pool("max"),
    "relax.nn.avg_pool2d": _window_pool("avg"),
}


def _pad_outputs(weight: Array) -> Array:
    """`weight` with its last axis filled up with zeros to CHANNEL_MULTIPLE."""
    outputs = weight.shape[-1]
    widths = [(0, 0)] * (weight.ndim - 1) + [(0, round_up(outputs, CHANNEL_MULTIPLE) - outputs)]
    return np.pad(weight, widths)


def _extents(expression: ir.Expr) -> tuple[int, ...]:
    return tuple(int(extent) for extent in expression.ty.shape)


def _is_static_float(call: ir.Call) -> bool:
    types = [call.ty, *(argument.ty for argument in call.args if hasattr(argument.ty, "dtype"))]
    return all(
        str(kind.dtype) == "float32" and kind.shape is not None and all(_is_known(n) for n in kind.shape)
        for kind in types
    )


def _is_known(extent: object) -> bool:
    return isinstance(extent, int | tirx.IntImm)
