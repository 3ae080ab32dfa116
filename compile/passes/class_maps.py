"""The largest channel of each pixel, `argmax`, becomes a kernel; a resize before it becomes part of that.

Runs on the NHWC graph, where ConvertLayout has put a transpose before an argmax over the channels of NCHW.
"""

from __future__ import annotations

from tvm import ir, relax
from tvm.relax.expr_functor import mutator

from compile.passes.kernel_calls import call_kernel
from compile.passes.readers import is_to_planes, operator, readers_of
from compile.passes.resizing import resize_of, tables
from compile.passes.rewriter import Rewriter, with_main_rewritten
from compile.passes.shapes import image_shape
from schedules import argmax

CLASS_TYPES = ("uint8", "int8", "int16", "int32", "int64")
"""What a class map may be cast to in its kernel."""


@ir.transform.module_pass(opt_level=0)
class ClassMaps:
    """Replace every argmax over the channels of NHWC pixels, and casts of it."""

    def transform_module(self, module: ir.IRModule, _context: object) -> ir.IRModule:
        """The module with its `main` calling `argmax` kernels, which are added to it."""
        return relax.transform.DeadCodeElimination()(with_main_rewritten(module, _Replacer(module)))


@mutator
class _Replacer(Rewriter):
    def __init__(self, module: ir.IRModule) -> None:
        super().__init__(module)
        main = module["main"]
        readers = readers_of(main)
        self.types = {
            binding.value: _cast_type(readers[binding.var])
            for block in main.body.blocks
            for binding in block.bindings
            if operator(binding.value) == "argmax"
        }

    def visit_call_(self, call: ir.Call) -> ir.Expr:
        dtype = self.types.get(call, "int64")
        call = self.builder_.normalize(self.visit_expr_post_order(call))
        if operator(call) == "astype" and str(call.args[0].ty.dtype) == str(call.ty.dtype):
            return call.args[0]
        pixels = self._pixels(call) if operator(call) == "argmax" else None
        if pixels is None:
            return call
        classes = self._classes(pixels, dtype)
        if call.attrs.keepdims:
            classes = relax.op.reshape(self.builder_.emit(classes), call.ty.shape)
        return classes

    def _pixels(self, call: ir.Call) -> ir.Expr | None:
        """The NHWC image whose channels are compared."""
        data, axis = call.args[0], call.attrs.axis
        if axis is None or image_shape(data) is None or str(call.ty.dtype) != "int64":
            return None
        if int(axis) % 4 == 3:
            return self._before_softmax(data)
        value = self.value_of(data)
        if int(axis) % 4 != 1 or not is_to_planes(value):
            return None
        return self._before_softmax(value.args[0])

    def _before_softmax(self, pixels: ir.Expr) -> ir.Expr:
        """What has its largest channels where `pixels` have them: softmax changes nothing about that."""
        value = self.value_of(pixels)
        if operator(value) in ("nn.softmax", "nn.log_softmax") and int(value.attrs.axis) % 4 == 3:
            return value.args[0]
        return pixels

    def _classes(self, pixels: ir.Expr, dtype: str) -> ir.Expr:
        shape = image_shape(pixels)
        assert shape is not None
        function, arguments = argmax.define(shape, dtype), [pixels]
        resize = resize_of(self.value_of(pixels))
        if resize is not None and resize.is_bilinear:
            columns = resize.samples(1).padded(argmax.PIXELS)
            function = argmax.define_resized(resize.shape, resize.size, dtype)
            arguments = [resize.source, *tables(resize.samples(0), columns)]
        type_ = relax.TensorType(shape[:3], dtype)
        return call_kernel(self.builder_, function, argmax.KIND, arguments, type_)


def _cast_type(readers: list[ir.Expr]) -> str:
    """The type that all of the argmax's readers cast it to, if there is one."""
    types = {str(each.ty.dtype) if operator(each) == "astype" else "int64" for each in readers}
    dtype = types.pop() if len(types) == 1 else "int64"
    return dtype if dtype in CLASS_TYPES else "int64"
