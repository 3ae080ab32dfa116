"""An activation of a concatenation becomes one of each part, where it is the epilogue of what makes the part.

After the concatenation, which is a kernel of its own, it would read and write all of it once more.
"""

from __future__ import annotations

from collections.abc import Mapping

from tvm import ir, relax
from tvm.relax.expr_functor import mutator

from compile.passes.constants import array_of
from compile.passes.readers import operator, readers_of
from compile.passes.rewriter import Rewriter

ACTIVATIONS = {"nn.relu", "nn.leakyrelu", "nn.silu", "sigmoid", "tanh"}
BOUNDS = {"minimum", "maximum"}
"""With a number as the other operand: ReLU6 (plain_clip.py)."""


@relax.transform.function_pass(opt_level=0)
class JoinedActivations:
    """Move every such activation, where nothing else reads the concatenation."""

    def transform_function(
        self, function: relax.Function, module: ir.IRModule, _context: object
    ) -> relax.Function:
        """The function with concatenations last."""
        return _Replacer(module, readers_of(function)).visit_expr(function)


@mutator
class _Replacer(Rewriter):
    def __init__(self, module: ir.IRModule, readers: Mapping[relax.Var, list[ir.Expr]]) -> None:
        super().__init__(module)
        self.readers = readers

    def visit_call_(self, call: ir.Call) -> ir.Expr:
        is_alone = len(self.readers.get(call.args[0], ())) == 1 if call.args else False
        call = self.visit_expr_post_order(call)
        if not is_alone or not _is_activation(call):
            return call
        joined = self.value_of(call.args[0])
        if operator(joined) != "concat":
            return call
        parts = self.value_of(joined.args[0]) or joined.args[0]
        results = [self.builder_.emit(ir.Call(call.op, [part, *call.args[1:]], call.attrs)) for part in parts]
        return relax.op.concat(results, joined.attrs.axis)


def _is_activation(call: ir.Call) -> bool:
    if operator(call) not in BOUNDS:
        return operator(call) in ACTIVATIONS
    bound = array_of(call.args[1])
    return bound is not None and bound.ndim == 0
