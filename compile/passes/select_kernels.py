"""Operators that Armature schedules itself are written as that kind's kernel; the rest are left to TVM.

Works on the NHWC graph. An operator is taken when its weights are constants and its form is one that a
kind knows; weights are padded to CHANNEL_MULTIPLE outputs here, and packed when scheduled.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from tvm import ir, relax, te, tirx
from tvm.relax.expr_functor import mutator

from compile.passes.constants import Array, array_of, constant
from compile.passes.convolution import Convolution, convolution_of, pair, sides
from compile.passes.kernel_calls import call_kernel
from compile.passes.resizing import resize_of, tables
from compile.passes.rewriter import Rewriter, with_main_rewritten
from compile.passes.transposed import in_planes, transposed_of
from schedules import concat, conv, dense, depthwise, interleave, pointwise, pool, resize, stem
from schedules.camera import Camera
from schedules.kernel import CHANNEL_MULTIPLE, LANES, round_up
from schedules.window import Window

OUT_ELEMENTWISE_FUSABLE = 4
"""OpPatternKind of a kernel that takes element-wise work into its epilogue (tvm/relax/op_attr_types.h)."""


@ir.transform.module_pass(opt_level=0)
class SelectKernels:
    """Replace operators by calls of kernels, which are added to the module."""

    def transform_module(self, module: ir.IRModule, _context: object) -> ir.IRModule:
        """The module with its `main` calling kernels of our kinds."""
        return with_main_rewritten(module, _Selector(module))


@mutator
class _Selector(Rewriter):
    def visit_call_(self, call: ir.Call) -> ir.Expr:
        call = self.builder_.normalize(self.visit_expr_post_order(call))
        name = getattr(call.op, "name", "")
        if name not in SELECTORS or not _is_static_float(call):
            return call
        kernel = SELECTORS[name](self.builder_, call)
        return call if kernel is None else kernel


def emit(
    builder: relax.BlockBuilder,
    define: Callable[..., object],
    tensors: list[ir.Expr],
    *settings: object,
    kind: str = "",
) -> ir.Expr:
    """A call of the kernel that `define(*tensors, *settings)` writes, named for its `kind`, or its module."""
    return builder.call_te(
        lambda *placeholders: define(*placeholders, *settings),
        *tensors,
        primfunc_name_hint=kind or define.__module__.rpartition(".")[2],
        primfunc_attrs={"op_pattern": OUT_ELEMENTWISE_FUSABLE},
    )


def _convolution(builder: relax.BlockBuilder, call: ir.Call) -> ir.Expr | None:
    """The kernel of an NHWC convolution; a dense one of a transposed image reads the image itself."""
    layer = convolution_of(
        call, lambda value: builder.lookup_binding(value) if isinstance(value, relax.Var) else None
    )
    if layer is None:
        return None
    window = layer.window
    if layer.is_by_channel:
        if not layer.is_depthwise:
            return None
        return emit(builder, depthwise.define, [layer.source, constant(layer.kernel_weight)], window)
    if layer.is_pointwise:
        weight = constant(_pad_outputs(layer.kernel_weight))
        return emit(builder, pointwise.define, [layer.source, weight], layer.channels, window.stride)
    if not layer.channels_last:
        tensors = [*layer.data, constant(_pad_outputs(layer.weight))]
        define = stem.define if layer.camera is None else _stem_of_frames
        return emit(builder, define, tensors, layer.channels, window, kind=stem.KIND)
    if layer.groups > 1:
        return _grouped(builder, layer)
    tensors = [layer.source, constant(_pad_outputs(layer.weight))]
    return emit(builder, conv.define, tensors, layer.channels, window)


def _stem_of_frames(
    frame: te.Tensor, scale: te.Tensor, shift: te.Tensor, weight: te.Tensor, channels: int, window: Window
) -> te.Tensor:
    return stem.define_of_frames(Camera(frame, scale, shift), weight, channels, window)


def _grouped(builder: relax.BlockBuilder, layer: Convolution) -> ir.Expr:
    """The kernel of a grouped convolution; groups that are no whole vectors are filled up to them."""
    channels = layer.channels // layer.groups
    filled = round_up(channels, LANES)
    parts = layer.weight.reshape(*layer.weight.shape[:-1], layer.groups, channels)
    weight = np.pad(parts, [(0, 0)] * 4 + [(0, filled - channels)]).reshape(*layer.weight.shape[:-1], -1)
    tensors = [layer.source, constant(weight)]
    settings = (layer.groups * filled, layer.window, layer.groups)
    output = emit(builder, conv.define, tensors, *settings)
    if filled == channels:
        return output
    output = builder.emit(output)
    *place, _ = _extents(output)
    groups = builder.emit(relax.op.reshape(output, (*place, layer.groups, filled)))
    wanted = builder.emit(relax.op.strided_slice(groups, [4], [0], [channels]))
    return relax.op.reshape(wanted, (*place, layer.channels))


def _transposed(builder: relax.BlockBuilder, call: ir.Call) -> ir.Expr:
    """A convolution for each phase, and their pixels woven; or, where that cannot be, TVM's kernel."""
    layer = transposed_of(call)
    if layer is None:
        return in_planes(builder, call)
    images = []
    for convolution in layer.convolutions():
        kernel = _convolution(builder, builder.normalize(convolution))
        assert kernel is not None
        images.append(builder.emit(kernel))
    channels = layer.weight.shape[3]
    if layer.stride == 1 and _extents(images[0])[1:3] == layer.size:
        return images[0]
    return emit(
        builder,
        lambda *tensors: interleave.define_pixels(tensors, layer.stride, layer.size, channels),
        images,
        kind=interleave.KIND,
    )


def _product(builder: relax.BlockBuilder, call: ir.Call) -> ir.Expr | None:
    weight = array_of(call.args[1])
    if weight is None or weight.ndim != 2 or len(call.args[0].ty.shape) != 2:
        return None
    return emit(builder, dense.define, [call.args[0], constant(_pad_outputs(weight))], weight.shape[1])


def _mean(builder: relax.BlockBuilder, call: ir.Call) -> ir.Expr | None:
    axes = sorted(int(axis) for axis in call.attrs.axis or ())
    if axes != [1, 2] or len(call.args[0].ty.shape) != 4:
        return None
    mean = emit(builder, pool.define_mean, [call.args[0]])
    return mean if call.attrs.keepdims else relax.op.reshape(builder.emit(mean), call.ty.shape)


def _adaptive_mean(builder: relax.BlockBuilder, call: ir.Call) -> ir.Expr | None:
    if call.attrs.layout != "NHWC":
        return None
    _, height, width, _ = _extents(call)
    if (height, width) == (1, 1):
        return emit(builder, pool.define_mean, [call.args[0]])
    return emit(builder, pool.define_adaptive, [call.args[0]], (height, width))


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
        output = _extents(call)[1:3]
        counts_padding = bool(attrs.count_include_pad)
        return emit(builder, pool.define_window, [call.args[0]], window, output, mode, counts_padding)

    return select


def _resize(builder: relax.BlockBuilder, call: ir.Call) -> ir.Expr | None:
    """A resize; of a single pixel it is a copy to everywhere, which what reads it can do itself."""
    found = resize_of(call)
    if found is None:
        return None
    if found.source_size == found.size:
        return found.source
    if found.source_size == (1, 1):
        return relax.op.broadcast_to(found.source, call.ty.shape)
    if not found.is_bilinear:
        return emit(builder, resize.define_nearest, [found.source, *found.nearest_tables()])
    tensors = [found.source, *tables(found.samples(0), found.samples(1))]
    return emit(builder, resize.define_bilinear, tensors)


def _concat(builder: relax.BlockBuilder, call: ir.Call) -> ir.Expr | None:
    """Tensors one after the other; a single one is itself."""
    parts = list(call.args[0].fields)
    if call.attrs.axis is None or not all(_is_static_float(part) for part in parts):
        return None
    axis = int(call.attrs.axis) % len(call.ty.shape)
    outer = math.prod(_extents(call)[:axis])
    runs = [math.prod(_extents(part)[axis:]) for part in parts]
    rows = [builder.emit(relax.op.reshape(part, (outer, run))) for part, run in zip(parts, runs, strict=True)]
    type_ = relax.TensorType((outer, sum(runs)), "float32")
    whole = call_kernel(builder, concat.define(outer, runs), concat.KIND, rows, type_)
    return relax.op.reshape(builder.emit(whole), call.ty.shape)


SELECTORS: dict[str, Callable[[relax.BlockBuilder, ir.Call], ir.Expr | None]] = {
    "relax.nn.conv2d": _convolution,
    "relax.nn.conv2d_transpose": _transposed,
    "relax.matmul": _product,
    "relax.concat": _concat,
    "relax.image.resize2d": _resize,
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


def _is_static_float(expression: ir.Expr) -> bool:
    """Whether it, and the tensors that it is called with, are float32 of known shape."""
    arguments = expression.args if isinstance(expression, ir.Call) else ()
    types = [expression.ty, *(argument.ty for argument in arguments if hasattr(argument.ty, "dtype"))]
    return all(
        str(kind.dtype) == "float32" and kind.shape is not None and all(_is_known(n) for n in kind.shape)
        for kind in types
    )


def _is_known(extent: object) -> bool:
    return isinstance(extent, int | tirx.IntImm)
