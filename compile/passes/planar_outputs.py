"""Transposes from NHWC pixels to NCHW planes become kernels; a resize before one becomes part of it.

ConvertLayout leaves one where a network's result, or an operator it has no rule for, is NCHW.
"""

from __future__ import annotations

from tvm import ir, relax
from tvm.relax.expr_functor import mutator

from compile.passes.kernel_calls import call_kernel
from compile.passes.readers import operator, readers_of
from compile.passes.resizing import resize_of, tables
from compile.passes.rewriter import Rewriter
from compile.passes.shapes import image_shape
from schedules import planar


@ir.transform.module_pass(opt_level=0)
class PlanarOutputs:
    """Replace every transpose from NHWC to NCHW."""

    def transform_module(self, module: ir.IRModule, _context: object) -> ir.IRModule:
        """The module with its `main` calling `planar` kernels, which are added to it."""
        replacer = _Replacer(module)
        main = module.get_global_var("main")
        replacer.builder_.update_func(main, replacer.visit_expr(module[main]))
        return relax.transform.DeadCodeElimination()(replacer.builder_.get())


@mutator
class _Replacer(Rewriter):
    def __init__(self, module: ir.IRModule) -> None:
        super().__init__(module)
        self.shared = {var for var, readers in readers_of(module["main"]).items() if len(readers) > 1}

    def visit_call_(self, call: ir.Call) -> ir.Expr:
        is_resized_once = len(call.args) > 0 and call.args[0] not in self.shared
        call = self.builder_.normalize(self.visit_expr_post_order(call))
        if operator(call) != "permute_dims" or not _is_to_planes(call):
            return call
        pixels = call.args[0]
        resize = resize_of(self._value(pixels)) if is_resized_once else None
        if resize is not None and resize.is_bilinear:
            function = planar.define_resized(resize.shape, resize.size)
            arguments = [resize.source, *tables(resize.samples(0), resize.samples(1))]
            return call_kernel(self.builder_, function, planar.KIND, arguments, call.ty)
        shape = image_shape(pixels)
        assert shape is not None
        batch, height, width, channels = shape
        flat = self.builder_.emit(relax.op.reshape(pixels, (batch, height * width, channels)))
        type_ = relax.TensorType((batch, channels, height * width), "float32")
        planes = call_kernel(self.builder_, planar.define(shape), planar.KIND, [flat], type_)
        return relax.op.reshape(self.builder_.emit(planes), call.ty.shape)

    def _value(self, expression: ir.Expr) -> ir.Expr:
        """What a variable is bound to; None for anything else."""
        return self.builder_.lookup_binding(expression) if isinstance(expression, relax.Var) else None


def _is_to_planes(call: ir.Call) -> bool:
    """Whether it turns float32 NHWC pixels of known shape into planes."""
    axes = call.attrs.axes
    is_turned = axes is not None and [int(axis) for axis in axes] == [0, 3, 1, 2]
    return is_turned and image_shape(call.args[0]) is not None
