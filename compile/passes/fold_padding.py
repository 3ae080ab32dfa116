"""Zeros around an image become the padding of the convolution that reads it.

TensorFlow's SAME pads the bottom and right only where the stride asks for it, which PyTorch has to write as a
`pad` before the convolution; every kernel of ours takes a padding of its own for each side.
"""

from __future__ import annotations

from tvm import ir, relax
from tvm.relax.expr_functor import mutator

from compile.passes.convolution import sides
from compile.passes.readers import operator
from compile.passes.rewriter import Rewriter


@relax.transform.function_pass(opt_level=0)
class FoldPadding:
    """Fold `pad` with zeros into convolutions of NCHW images."""

    def transform_function(
        self, function: relax.Function, module: ir.IRModule, _context: object
    ) -> relax.Function:
        """The function with its convolutions padded."""
        return _Folder(module).visit_expr(function)


@mutator
class _Folder(Rewriter):
    def visit_call_(self, call: ir.Call) -> ir.Expr:
        call = self.visit_expr_post_order(call)
        if operator(call) != "nn.conv2d" or call.attrs.data_layout != "NCHW":
            return call
        around = self.value_of(call.args[0])
        added = _zeros_around(around)
        if added is None:
            return call
        attrs = call.attrs
        return relax.op.nn.conv2d(
            around.args[0],
            call.args[1],
            attrs.strides,
            [old + new for old, new in zip(sides(attrs.padding), added, strict=True)],
            attrs.dilation,
            attrs.groups,
            attrs.data_layout,
            attrs.kernel_layout,
            attrs.out_layout,
            attrs.out_dtype,
        )


def _zeros_around(value: ir.Expr | None) -> tuple[int, int, int, int] | None:
    """Top, left, bottom, right of what `value` adds to an NCHW image; None where it does something else."""
    if operator(value) != "nn.pad":
        return None
    assert isinstance(value, ir.Call)
    widths = [int(width) for width in value.attrs.pad_width]
    if value.attrs.pad_mode != "constant" or float(value.attrs.pad_value) != 0 or len(widths) != 8:
        return None
    *outer, top, bottom, left, right = widths
    return None if any(outer) or min(widths) < 0 else (top, left, bottom, right)
