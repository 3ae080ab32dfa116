"""From an exported program to Relax: TVM's importer, but for operators that it makes something else of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from torch import fx
from torch.export import ExportedProgram
from tvm import ir, relax
from tvm.relax.frontend.torch import from_exported_program

from compile.detections import CENTRE_SCALE, OUTPUTS, SIZE_SCALE, logit
from compile.passes.kernel_calls import call_kernel
from schedules.detections import KIND as DETECTIONS
from schedules.detections import Rules, define


def import_program(program: ExportedProgram) -> ir.IRModule:
    """The program as a Relax module, its parameters bound as constants.

    Raises whatever TVM's importer does for an operator that has no translation, and NotImplementedError for
    what Relax cannot express.
    """
    return from_exported_program(program, custom_convert_map=CONVERTERS)


def _bilinear(node: fx.Node, importer: Any) -> relax.Var:
    _, size, align_corners, *rest = node.args
    scales = rest[0] if rest else None
    if size is None and not align_corners:
        _require_whole(node, scales)
    mode = "align_corners" if align_corners else "half_pixel"
    return _resize(node, importer, "linear", mode, "")


def _bilinear_antialiased(node: fx.Node, importer: Any) -> relax.Var:
    """Without effect on an image that is made larger."""
    source, target = _sizes(node)
    if any(after < before for before, after in zip(source, target, strict=True)):
        raise NotImplementedError("interpolate with antialias=True to a smaller size is not supported")
    return _resize(node, importer, "linear", "align_corners" if node.args[2] else "half_pixel", "")


def _nearest(node: fx.Node, importer: Any) -> relax.Var:
    """The pixel at or before: TVM's importer takes the one whose centre is nearest."""
    _, size, *rest = node.args
    if size is None:
        _require_whole(node, rest[0])
    return _resize(node, importer, "nearest_neighbor", "asymmetric", "floor")


def _mean_of_windows(node: fx.Node, importer: Any) -> relax.Var:
    """TVM's importer does not see a divisor."""
    if len(node.args) > 6 and node.args[6] is not None:
        raise NotImplementedError("avg_pool2d with divisor_override is not supported: scale its result")
    return importer._avg_pool2d(node)


def _squeeze(node: fx.Node, importer: Any) -> relax.Var:
    """Axes from the front: ConvertLayout of TVM 0.27 takes an axis below zero for a very large one."""
    arguments: list[Any] = list(node.args)
    data, axes = importer.env[arguments[0]], arguments[1]
    extents = [int(extent) for extent in data.ty.shape]
    numbers = {axis % len(extents) for axis in (axes if isinstance(axes, Sequence) else [axes])}
    ones = sorted(axis for axis in numbers if extents[axis] == 1)
    return importer.block_builder.emit(relax.op.squeeze(data, ones)) if ones else data


def _largest(node: fx.Node, importer: Any) -> relax.Var:
    """Along axes, or of all."""
    arguments: list[Any] = list(node.args)
    axes = arguments[1] if len(arguments) > 1 else None
    keeps = len(arguments) > 2 and arguments[2]
    return importer.block_builder.emit(relax.op.max(importer.env[arguments[0]], axes or None, keeps))


def _elu(node: fx.Node, importer: Any) -> relax.Var:
    """TVM's importer does not see the scales, which SELU and CELU are made of."""
    data, *numbers = node.args
    alpha, scale, input_scale = [*numbers, 1.0, 1.0, 1.0][:3]
    emit, x = importer.block_builder.emit, importer.env[data]

    def constant(value: Any) -> relax.Constant:
        return relax.const(value, x.ty.dtype)

    below = emit(relax.op.minimum(x, constant(0.0)))
    curve = emit(relax.op.exp(emit(relax.op.multiply(below, constant(input_scale)))))
    bent = emit(relax.op.multiply(emit(relax.op.subtract(curve, constant(1.0))), constant(alpha)))
    whole = emit(relax.op.add(emit(relax.op.nn.relu(x)), bent))
    return whole if scale == 1.0 else emit(relax.op.multiply(whole, constant(scale)))


def _group_norm(node: fx.Node, importer: Any) -> relax.Var:
    """Weight and bias may be missing: TVM's importer makes null pointers of them."""
    arguments: list[Any] = list(node.args)
    data = importer.env[arguments[0]]
    channels, groups, epsilon = arguments[4], arguments[6], arguments[7]
    weight, bias = (
        relax.const(np.full(channels, default, np.float32)) if given is None else importer.env[given]
        for given, default in zip(arguments[1:3], (1.0, 0.0), strict=True)
    )
    axes = list(range(2, len(data.ty.shape)))
    normed = relax.op.nn.group_norm(data, weight, bias, groups, channel_axis=1, axes=axes, epsilon=epsilon)
    return importer.block_builder.emit(normed)


def _sampled(node: fx.Node, importer: Any) -> relax.Var:
    """PyTorch's grid is [N, height, width, 2], Relax's [N, 2, height, width]: TVM's importer knows one."""
    arguments: list[Any] = list(node.args)
    data, grid = (importer.env[each] for each in arguments[:2])
    method, padding, align_corners = arguments[2:]
    planes = importer.block_builder.emit(relax.op.permute_dims(grid, [0, 3, 1, 2]))
    sampled = relax.op.image.grid_sample(
        data,
        planes,
        method=("bilinear", "nearest", "bicubic")[method],
        layout="NCHW",
        padding_mode=("zeros", "border", "reflection")[padding],
        align_corners=align_corners,
    )
    return importer.block_builder.emit(sampled)


def _largest_of_windows(node: fx.Node, importer: Any) -> relax.Tuple:
    """An adaptive pool: one of equal windows where they are equal, else row by row and column by column."""
    if any(user.args[1] != 0 for user in node.users):
        raise NotImplementedError("adaptive_max_pool2d with return_indices=True is not supported")
    arguments: list[Any] = list(node.args)
    source, target = arguments[0].meta["val"].shape[2:], arguments[1]
    emit, data = importer.block_builder.emit, importer.env[arguments[0]]
    wanted = [before if after is None else after for before, after in zip(source, target, strict=True)]
    if not any(before % after for before, after in zip(source, wanted, strict=True)):
        window = [before // after for before, after in zip(source, wanted, strict=True)]
        found = emit(relax.op.nn.max_pool2d(data, window, window))
        return relax.Tuple([found, found])
    for axis, (before, after) in enumerate(zip(source, wanted, strict=True), start=2):
        parts = []
        for at in range(after):
            begin, end = at * before // after, -(-(at + 1) * before // after)
            part = emit(relax.op.strided_slice(data, [axis], [begin], [end]))
            parts.append(emit(relax.op.max(part, axis, keepdims=True)))
        data = emit(relax.op.concat(parts, axis))
    return relax.Tuple([data, data])


def _detections(node: fx.Node, importer: Any) -> relax.Tuple:
    """The kernel itself: no operator of Relax says as much."""
    arguments: list[Any] = list(node.args)
    deltas, logits, anchors = (importer.env[each] for each in arguments[:3])
    score_threshold, iou_threshold, most = arguments[3:]
    builder = importer.block_builder
    batch, count, width = (int(extent) for extent in logits.ty.shape)
    rules = Rules(logit(score_threshold), iou_threshold, most, (CENTRE_SCALE, SIZE_SCALE))
    kernel = define(batch, count, width - 1, rules)
    results = [relax.TensorType(each.ty.shape, each.ty.dtype) for each in kernel.params[3:]]
    tensors = [deltas, builder.emit(relax.op.reshape(logits, (batch, count * width))), anchors]
    made = builder.emit(call_kernel(builder, kernel, DETECTIONS, tensors, results))
    return relax.Tuple([builder.emit(relax.TupleGetItem(made, at)) for at in range(len(OUTPUTS))])


CONVERTERS: dict[str, Callable[[fx.Node, Any], relax.Expr]] = {
    "upsample_bilinear2d.vec": _bilinear,
    "_upsample_bilinear2d_aa.default": _bilinear_antialiased,
    "upsample_nearest2d.vec": _nearest,
    "avg_pool2d.default": _mean_of_windows,
    "squeeze.dim": _squeeze,
    "squeeze.dims": _squeeze,
    "amax.default": _largest,
    "elu.default": _elu,
    "native_group_norm.default": _group_norm,
    "grid_sampler_2d.default": _sampled,
    "adaptive_max_pool2d.default": _largest_of_windows,
    "detections.default": _detections,
}
"""By the operator's name, as TVM's importer takes them."""


def _resize(node: fx.Node, importer: Any, method: str, mode: str, rounding: str) -> relax.Var:
    resized = relax.op.image.resize2d(
        importer.env[node.args[0]],
        _sizes(node)[1],
        layout="NCHW",
        method=method,
        coordinate_transformation_mode=mode,
        rounding_method=rounding,
    )
    return importer.block_builder.emit(resized)


def _sizes(node: fx.Node) -> tuple[tuple[int, int], tuple[int, int]]:
    """(height, width) before and after."""
    nodes: tuple[Any, Any] = node.args[0], node
    before, after = (tuple(each.meta["val"].shape[2:]) for each in nodes)
    return before, after


def _require_whole(node: fx.Node, scales: Any) -> None:
    """PyTorch keeps to the scale where the size is rounded; Relax knows only sizes."""
    for scale, before, after in zip(scales, *_sizes(node), strict=True):
        if before * scale != after:
            raise NotImplementedError(
                f"interpolate by {scale} makes no whole number of {before} pixels: give it a size instead"
            )
