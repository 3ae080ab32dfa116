"""`clip` written as `minimum(maximum(x, low), high)`: ReLU6 as `minimum(relu(x), 6)`.

ConvertLayout has no rule for `relax.clip` and would put a transpose on either side of every ReLU6
(TVM 0.27; REFERENCE section 3).
"""

from __future__ import annotations

import numpy as np
from tvm import ir, relax
from tvm.relax.expr_functor import mutator

from compile.passes.rewriter import Rewriter


@relax.transform.function_pass(opt_level=0)
class PlainClip:
    """Replace every clip."""

    def transform_function(
        self, function: relax.Function, module: ir.IRModule, _context: object
    ) -> relax.Function:
        """The function without clips."""
        return _Replacer(module).visit_expr(function)


@mutator
class _Replacer(Rewriter):
    def visit_call_(self, call: ir.Call) -> ir.Expr:
        call = self.visit_expr_post_order(call)
        if getattr(call.op, "name", "") != "relax.clip":
            return call
        low, high = (_number(argument) for argument in call.args[1:])
        data, dtype = call.args[0], str(call.args[0].ty.dtype)
        if low == 0.0:
            data = self.builder_.emit(relax.op.nn.relu(data))
        elif low > -np.inf:
            data = self.builder_.emit(relax.op.maximum(data, relax.const(low, dtype)))
        return relax.op.minimum(data, relax.const(high, dtype)) if high < np.inf else data


def _number(argument: ir.Expr) -> float:
    return float(getattr(argument, "value", argument))
