"""The base of the passes that rewrite a Relax function expression by expression."""

from __future__ import annotations

from tvm.relax.expr_functor import PyExprMutator


class Rewriter(PyExprMutator):  # type: ignore[misc]  # TVM has no types
    """TVM's mutator; a pass derives from this, under TVM's `@mutator`."""
