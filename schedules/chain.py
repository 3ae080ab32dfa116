"""A bottleneck before it is scheduled: its convolutions one after the other, as plain tensor expressions."""

from __future__ import annotations

import math

from tvm import ir, te, tirx
from tvm.tirx import PrimFunc

from schedules.block import Bottleneck, Clamp
from schedules.camera import normalised
from schedules.kernel import mark
from schedules.window import Window, padded_load


def define(block: Bottleneck) -> PrimFunc:
    """The kernel of `block`, marked with its workload.

    Parameters: the data, of a camera with scale and shift [inputs]; weight [taps..., inputs, outputs] and
    bias of each stage (the depthwise convolution's is [kernel height, kernel width, channels], a pointwise
    one's [inputs, outputs]); the shortcut [batch, height', width', outputs] if there is one; the output of
    the same shape.
    """
    tensors, value = _data(block)
    first = block.expansion
    if first is not None:
        taps = () if first.is_pointwise else first.window.kernel
        weight = te.placeholder((*taps, first.inputs, block.middle), name="expansion_weight")
        bias = te.placeholder((block.middle,), name="expansion_bias")
        value = _convolved(value, weight, first.window, first.size, block.size, first.channels_last)
        value = finished(value, bias, first.clamp)
        tensors += [weight, bias]
    weight = te.placeholder((*block.window.kernel, block.middle), name="depthwise_weight")
    bias = te.placeholder((block.middle,), name="depthwise_bias")
    value = finished(_filtered(value, weight, block.window, block.output_size), bias, block.clamp)
    tensors += [weight, bias]
    weight = te.placeholder((block.middle, block.outputs), name="projection_weight")
    bias = te.placeholder((block.outputs,), name="projection_bias")
    point, size = Window((1, 1)), block.output_size
    value = finished(_convolved(value, weight, point, size, size, True), bias, block.output_clamp)
    tensors += [weight, bias]
    if block.shortcut:
        tensors.append(te.placeholder(value.shape, name="shortcut"))
        value = added(value, tensors[-1])
    function = te.create_prim_func([*tensors, value]).without_attr("global_symbol")
    return mark(function, block.workload())


def _data(block: Bottleneck) -> tuple[list[te.Tensor], te.Tensor]:
    """The kernel's first parameters, and the image that its first stage convolves."""
    if not block.reads_frames:
        data = te.placeholder(block.data_shape, name="data")
        return [data], data
    frame = te.placeholder(block.data_shape, "uint8", name="data")
    batch, height, width, inputs = block.data_shape
    scale, shift = (te.placeholder((inputs,), name=name) for name in ("scale", "shift"))
    image = te.compute(
        (batch, inputs, height, width),
        lambda b, k, y, x: normalised(frame[b, y, x, k], scale[k], shift[k]),
        name="image",
    )
    return [frame, scale, shift], image


def _convolved(
    data: te.Tensor,
    weight: te.Tensor,
    window: Window,
    size: tuple[int, int],
    output: tuple[int, int],
    channels_last: bool,
) -> te.Tensor:
    """A convolution over all channels; a weight without taps is a pointwise one's."""
    inputs, outputs = (int(extent) for extent in weight.shape[-2:])
    r, s, k = (te.reduce_axis((0, extent)) for extent in (*window.kernel, inputs))
    has_taps = len(weight.shape) > 2

    def product(b: tirx.Var, y: tirx.Var, x: tirx.Var, n: tirx.Var) -> ir.Expr:
        def read(row: ir.Expr, column: ir.Expr) -> ir.Expr:
            return data[(b, row, column, k) if channels_last else (b, k, row, column)]

        pixel = padded_load(read, size, window, (y, x), (r, s))
        return te.sum(pixel * (weight[r, s, k, n] if has_taps else weight[k, n]), axis=[r, s, k])

    return te.compute((int(data.shape[0]), *output, outputs), product, name="convolved")


def _filtered(data: te.Tensor, weight: te.Tensor, window: Window, output: tuple[int, int]) -> te.Tensor:
    """A depthwise convolution of NHWC data."""
    batch, height, width, channels = (int(extent) for extent in data.shape)
    r, s = (te.reduce_axis((0, extent)) for extent in window.kernel)

    def product(b: tirx.Var, y: tirx.Var, x: tirx.Var, c: tirx.Var) -> ir.Expr:
        pixel = padded_load(
            lambda row, column: data[b, row, column, c], (height, width), window, (y, x), (r, s)
        )
        return te.sum(pixel * weight[r, s, c], axis=[r, s])

    return te.compute((batch, *output, channels), product, name="filtered")


def finished(total: te.Tensor, bias: te.Tensor, clamp: Clamp) -> te.Tensor:
    """A stage's sums with `bias` [outputs] added, within `clamp`."""
    low, high = clamp

    def value(*index: ir.Expr) -> ir.Expr:
        result = total(*index) + bias(index[-1])
        if low > -math.inf:
            result = te.max(result, tirx.const(low, "float32"))
        if high < math.inf:
            result = te.min(result, tirx.const(high, "float32"))
        return result

    return te.compute(total.shape, value, name="finished")


def added(value: te.Tensor, shortcut: te.Tensor) -> te.Tensor:
    """The sum of the two."""
    return te.compute(value.shape, lambda *i: value(*i) + shortcut(*i), name="shortcut_add")
