"""What is spread over a larger tensor is finished before: a channel's scale, a pooled branch.

FuseOps takes an element-wise operator into the kernel that makes one of its operands. Were that operand
spread (`scale` [1, 1, 1, c] * `data` [1, h, w, c]), its kernel would be computed again for every pixel. A
reshape to its own shape, which becomes part of the operator's kernel, keeps it out.
"""

from __future__ import annotations

import math

from tvm import ir, relax
from tvm.relax.expr_functor import mutator

from compile.passes.constants import array_of
from compile.passes.readers import operator
from compile.passes.rewriter import Rewriter
from compile.passes.shapes import known_shape

OPERATORS = frozenset(
    {"add", "subtract", "multiply", "divide", "maximum", "minimum", "power", "where", "greater", "less"}
)


@relax.transform.function_pass(opt_level=0)
class SmallOperands:
    """Put a reshape before every operand of an element-wise operator that is smaller than the result."""

    def transform_function(
        self, function: relax.Function, module: ir.IRModule, _context: object
    ) -> relax.Function:
        """The function with them."""
        return _Replacer(module).visit_expr(function)


@mutator
class _Replacer(Rewriter):
    def visit_call_(self, call: ir.Call) -> ir.Expr:
        call = self.builder_.normalize(self.visit_expr_post_order(call))
        whole = _elements(call)
        if operator(call) not in OPERATORS or whole is None:
            return call
        arguments = [self._apart(argument, whole) for argument in call.args]
        return ir.Call(call.op, arguments, call.attrs, call.ty_args, ret_ty=call.ty)

    def _apart(self, argument: ir.Expr, whole: int) -> ir.Expr:
        elements = _elements(argument)
        if not isinstance(argument, relax.Var) or array_of(argument) is not None or elements is None:
            return argument
        is_small = elements < whole
        return self.builder_.emit(relax.op.reshape(argument, argument.ty.shape)) if is_small else argument


def _elements(expression: ir.Expr) -> int | None:
    """How many it has, where that is known."""
    shape = known_shape(expression)
    return None if shape is None else math.prod(shape)
