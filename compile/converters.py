"""From an exported program to Relax: TVM's importer, but for operators that it makes something else of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

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
