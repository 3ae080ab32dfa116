"""The base of the passes that rewrite a Relax function expression by expression."""

from __future__ import annotations

from tvm import ir, relax
from tvm.relax.expr_functor import PyExprMutator


class Rewriter(PyExprMutator):  # type: ignore[misc]  # TVM has no types
    """TVM's mutator; a pass derives from this, under TVM's `@mutator`."""

    def value_of(self, expression: ir.Expr) -> ir.Expr:
        """What a variable is bound to; None for anything else."""
        return self.builder_.lookup_binding(expression) if isinstance(expression, relax.Var) else None


def with_main_rewritten(module: ir.IRModule, rewriter: Rewriter) -> ir.IRModule:
    """`module`, its `main` as `rewriter` (made for it) leaves it, and the kernels that it added."""
    main = module.get_global_var("main")
    rewriter.builder_.update_func(main, rewriter.visit_expr(module[main]))
    return rewriter.builder_.get()
