"""A channel shuffle, which ConvertLayout leaves as five steps between NHWC pixels, becomes one kernel.

In NCHW it is reshape [n, g, c / g, h, w] -> transpose of g and c / g -> reshape. Where the channels are a
concatenation of g equal parts, as ShuffleNetV2's are, the kernel reads the parts themselves.
"""

from __future__ import annotations

from tvm import ir, relax
from tvm.relax.expr_functor import mutator

from compile.passes.readers import operator
from compile.passes.rewriter import Rewriter, with_main_rewritten
from compile.passes.select_kernels import emit
from compile.passes.shapes import image_shape
from schedules import interleave

STEPS = ("permute_dims", "reshape", "permute_dims", "reshape", "permute_dims")
"""From the last to the first."""


@ir.transform.module_pass(opt_level=0)
class ChannelShuffles:
    """Replace every shuffle of the channels of float32 NHWC pixels."""

    def transform_module(self, module: ir.IRModule, _context: object) -> ir.IRModule:
        """The module with its `main` calling `interleave` kernels, which are added to it."""
        return relax.transform.DeadCodeElimination()(with_main_rewritten(module, _Replacer(module)))


@mutator
class _Replacer(Rewriter):
    def visit_call_(self, call: ir.Call) -> ir.Expr:
        call = self.builder_.normalize(self.visit_expr_post_order(call))
        steps = self._steps(call)
        if len(steps) < len(STEPS) or image_shape(steps[-1].args[0]) is None:
            return call
        groups = _groups(steps)
        if groups is None:
            return call
        images = self._parts(steps[-1].args[0], groups)
        return emit(
            self.builder_,
            lambda *tensors: interleave.define_channels(tensors, groups),
            images,
            kind=interleave.KIND,
        )

    def _steps(self, call: ir.Call) -> list[ir.Call]:
        """The calls that lead to `call`, it first, as far as they are STEPS."""
        found: list[ir.Call] = []
        value = call
        for step in STEPS:
            if operator(value) != step:
                break
            found.append(value)
            value = self.value_of(value.args[0])
        return found

    def _parts(self, pixels: ir.Expr, groups: int) -> list[ir.Expr]:
        """What is shuffled: the equal parts of a concatenation, or all."""
        whole = self.value_of(pixels)
        if operator(whole) != "concat" or int(whole.attrs.axis) % 4 != 3:
            return [pixels]
        parts = list(whole.args[0].fields)
        is_equal = len(parts) == groups and len({int(part.ty.shape[3]) for part in parts}) == 1
        return parts if is_equal else [pixels]


def _groups(steps: list[ir.Call]) -> int | None:
    """The number of groups of a shuffle; None for anything else."""
    to_pixels, _, swap, split, to_planes = steps
    axes = [
        None if each.attrs.axes is None else [int(axis) for axis in each.attrs.axes]
        for each in (to_pixels, swap, to_planes)
    ]
    if axes != [[0, 2, 3, 1], [0, 2, 1, 3, 4], [0, 3, 1, 2]]:
        return None
    batch, channels, height, width = (int(extent) for extent in to_planes.ty.shape)
    shape = [int(extent) for extent in split.ty.shape]
    is_shuffle = (shape[0], *shape[3:]) == (batch, height, width) and shape[1] * shape[2] == channels
    returns = [int(extent) for extent in to_pixels.ty.shape] == [batch, height, width, channels]
    return shape[1] if is_shuffle and returns else None
