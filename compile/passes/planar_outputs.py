"""Transposes from NHWC pixels to NCHW planes become kernels; a resize before one becomes part of it.

ConvertLayout leaves one where a network's result, or an operator it has no rule for, is NCHW.
"""

from __future__ import annotations

from tvm import ir, relax
from tvm.relax.expr_functor import mutator

from compile.passes.kernel_calls import call_kernel
from compile.passes.readers import is_to_planes, readers_of
from compile.passes.resizing import resize_of, tables
from compile.passes.rewriter import Rewriter, with_main_rewritten
from compile.passes.shapes import image_shape
from schedules import planar


@ir.transform.module_pass(opt_level=0)
class PlanarOutputs:
    """Replace every transpose from NHWC to NCHW."""

    def transform_module(self, module: ir.IRModule, _context: object) -> ir.IRModule:
        """The module with its `main` calling `planar` kernels, which are added to it."""
        return relax.transform.DeadCodeElimination()(with_main_rewritten(module, _Replacer(module)))


@mutator
class _Replacer(Rewriter):
    def __init__(self, module: ir.IRModule) -> None:
        super().__init__(module)
        self.shared = {var for var, readers in readers_of(module["main"]).items() if len(readers) > 1}

    def visit_call_(self, call: ir.Call) -> ir.Expr:
        is_resized_once = len(call.args) > 0 and call.args[0] not in self.shared
        call = self.builder_.normalize(self.visit_expr_post_order(call))
        shape = image_shape(call.args[0]) if is_to_planes(call) else None
        if shape is None:
            return call
        pixels = call.args[0]
        resize = resize_of(self.value_of(pixels)) if is_resized_once else None
        if resize is not None and resize.is_bilinear:
            function = planar.define_resized(resize.shape, resize.size)
            arguments = [resize.source, *tables(resize.samples(0), resize.samples(1))]
            return call_kernel(self.builder_, function, planar.KIND, arguments, call.ty)
        batch, height, width, channels = shape
        flat = self.builder_.emit(relax.op.reshape(pixels, (batch, height * width, channels)))
        type_ = relax.TensorType((batch, channels, height * width), "float32")
        planes = call_kernel(self.builder_, planar.define(shape), planar.KIND, [flat], type_)
        return relax.op.reshape(self.builder_.emit(planes), call.ty.shape)
