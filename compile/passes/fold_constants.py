"""Layout changes of constants are done now, in numpy; moves that move nothing become reshapes.

TVM's FoldConstant compiles a kernel through LLVM for every constant it folds, which takes seconds for a
network's weights; these few operators are all that the earlier passes leave behind.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from tvm import ir, relax, tirx
from tvm.relax.expr_functor import mutator
from tvm_ffi import structural_equal

from compile.passes.constants import Array, array_of, constant
from compile.passes.rewriter import Rewriter


def _permute(value: Array, call: ir.Call) -> Array:
    axes = call.attrs.axes
    return np.transpose(value, None if axes is None else [int(axis) for axis in axes])


def _reshape(value: Array, call: ir.Call) -> Array:
    return value.reshape([int(extent) for extent in call.ty.shape])


def _cast(value: Array, call: ir.Call) -> Array:
    return value.astype(str(call.ty.dtype))


FOLDS: dict[str, Callable[[Array, ir.Call], Array]] = {
    "relax.permute_dims": _permute,
    "relax.reshape": _reshape,
    "relax.expand_dims": _reshape,
    "relax.squeeze": _reshape,
    "relax.astype": _cast,
}


@relax.transform.function_pass(opt_level=0)
class FoldConstants:
    """Apply FOLDS to constants, turn transposes of extent-1 axes into reshapes, and drop idle reshapes."""

    def transform_function(
        self, function: relax.Function, module: ir.IRModule, _context: object
    ) -> relax.Function:
        """The function with its constants folded."""
        return _Folder(module).visit_expr(function)


@mutator
class _Folder(Rewriter):
    def visit_call_(self, call: ir.Call) -> ir.Expr:
        call = self.builder_.normalize(self.visit_expr_post_order(call))
        name = getattr(call.op, "name", "")
        if name in FOLDS:
            source = self.lookup_binding(call.args[0]) if isinstance(call.args[0], ir.Var) else call.args[0]
            value = None if source is None else array_of(source)
            if value is not None:
                return constant(FOLDS[name](value, call))
        if name == "relax.permute_dims" and _moves_nothing(call):
            call = self.builder_.normalize(relax.op.reshape(call.args[0], call.ty.shape))
        return self._merge_reshapes(call)

    def _merge_reshapes(self, call: ir.Call) -> ir.Expr:
        source = call.args[0] if call.args else None
        earlier = self.lookup_binding(source) if isinstance(source, ir.Var) else None
        if _is_reshape(call) and isinstance(earlier, ir.Call) and _is_reshape(earlier):
            call = self.builder_.normalize(relax.op.reshape(earlier.args[0], call.args[1]))
        is_same = _is_reshape(call) and structural_equal(call.args[0].ty, call.ty)
        return call.args[0] if is_same else call


def _is_reshape(call: ir.Call) -> bool:
    return getattr(call.op, "name", "") == "relax.reshape"


def _moves_nothing(call: ir.Call) -> bool:
    """Whether the axes longer than 1 keep their order, so that no element changes its place."""
    shape = call.args[0].ty.shape
    axes = range(len(shape))[::-1] if call.attrs.axes is None else [int(axis) for axis in call.attrs.axes]
    long_axes = [
        axis for axis in axes if not (isinstance(shape[axis], tirx.IntImm) and int(shape[axis]) == 1)
    ]
    return long_axes == sorted(long_axes)
