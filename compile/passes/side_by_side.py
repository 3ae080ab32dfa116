"""Channels are concatenated without a copy: who makes a part writes it in its columns of the whole.

Runs when kernels write into tensors that `main` allocates (after CallTIRRewrite). A part that only its maker
and the concatenation touch is not allocated: its maker is given the whole, and writes some columns of it
(columns.py). What is left of the concatenation copies the other parts. Parts that are contiguous in the whole
are the memory plan's (joins.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate

import tvm_ffi
from tvm import ir, relax, s_tir, tirx

from compile.passes.columns import in_columns
from compile.passes.liveness import KernelCall, Liveness, liveness_of
from schedules.concat import JOINS

SCHEDULED_AS = "armature.scheduled_as"
"""The attribute of a kernel that is another, changed here: that one's name."""


@dataclass(frozen=True)
class _Part:
    """A tensor that is made in its columns of the whole."""

    tensor: relax.Var
    maker: KernelCall
    position: int
    """Of the tensor among the maker's arguments."""
    kernel: tirx.PrimFunc
    """The maker's, writing columns."""
    place: str
    """Says the columns."""


@ir.transform.module_pass(opt_level=0)
class SideBySide:
    """Write the parts of concatenations of channels where they belong, where nothing else reads them."""

    def transform_module(self, module: ir.IRModule, _context: object) -> ir.IRModule:
        """The module with the makers of such parts writing into the whole."""
        main = module["main"]
        seen = liveness_of(main)
        editor = _Editor(module, seen)
        for call in seen.calls:
            made = dict(_made_in_place(module, editor, call))
            if made:
                editor.join(call, made)
        return editor.module() if editor.edited else module


def _made_in_place(module: ir.IRModule, editor: _Editor, call: KernelCall) -> Iterator[tuple[int, _Part]]:
    """The parts of a concatenation, by their number, that can be made in the whole."""
    seen = editor.seen
    is_contiguous = module[call.kernel].attrs.get(JOINS)
    if is_contiguous is None or bool(is_contiguous):
        return
    *parts, whole = call.arguments
    if whole not in seen.allocated or seen.uses[whole][0] != call.step:
        return
    runs = [int(parameter.ty.shape[1]) for parameter in module[call.kernel].params[:-1]]
    starts = accumulate(runs, initial=0)
    makers = {each.step: each for each in seen.calls}
    for number, (tensor, run, start) in enumerate(zip(parts, runs, starts, strict=False)):
        if tensor not in seen.allocated or tensor in seen.escaped or parts.count(tensor) != 1:
            continue
        steps = seen.uses[tensor]
        maker = makers[steps[0]]
        if len(steps) != 2 or maker.arguments.count(tensor) != 1:
            continue
        position = maker.arguments.index(tensor)
        making = editor.kernel(maker.step)
        kernel = in_columns(making, position, start, sum(runs))
        if int(making.params[position].ty.shape[-1]) == run and kernel is not None:
            yield number, _Part(tensor, maker, position, kernel, f"{start}_of_{sum(runs)}")


class _Editor:
    """Changes the bindings of a `main`."""

    def __init__(self, module: ir.IRModule, seen: Liveness) -> None:
        self.builder = relax.BlockBuilder(module)
        self.main = module["main"]
        self.seen = seen
        self.bindings: list[relax.Binding] = [
            binding for block in self.main.body.blocks for binding in block.bindings
        ]
        """None for one that is dropped."""
        self.before: dict[int, list[relax.Binding]] = {}
        """What comes before a step."""
        self.kernels: dict[tuple[str, int], ir.GlobalVar] = {}
        self.edited = False

    def kernel(self, step: int) -> tirx.PrimFunc:
        """What is called at a step."""
        return self.builder.get()[self.bindings[step].value.op]

    def join(self, call: KernelCall, made: Mapping[int, _Part]) -> None:
        """Let the parts `made` of the concatenation `call` be made in the whole."""
        self.edited = True
        whole = self.bindings[self._allocation(call.arguments[-1])]
        first = min(self._allocation(part.tensor) for part in made.values())
        self.bindings[self._allocation(whole.var)] = None
        self.before.setdefault(first, []).append(whole)
        for part in made.values():
            self._make(part, whole.var)
        self._copy_rest(call, made)

    def module(self) -> ir.IRModule:
        """The module with the new `main`, and only the kernels that it calls."""
        bindings = []
        for step, binding in enumerate(self.bindings):
            bindings += self.before.get(step, [])
            bindings += [binding] if binding is not None else []
        body = relax.SeqExpr([relax.BindingBlock(bindings)], self.main.body.body)
        main = relax.Function(
            self.main.params, body, self.main.ret_ty, self.main.is_pure, self.main.attrs, self.main.span
        )
        var = self.builder.get().get_global_var("main")
        self.builder.update_func(var, main)
        return relax.transform.DeadCodeElimination()(self.builder.get())

    def _allocation(self, tensor: relax.Var) -> int:
        return next(
            step
            for step, binding in enumerate(self.bindings)
            if binding is not None and binding.var.same_as(tensor)
        )

    def _make(self, part: _Part, whole: relax.Var) -> None:
        """Give the part's maker the whole, in the shape that it wants."""
        self.bindings[self._allocation(part.tensor)] = None
        step = part.maker.step
        shape = tuple(int(extent) for extent in part.kernel.params[part.position].ty.shape)
        call = self.bindings[step].value
        arguments = list(call.args)
        arguments[part.position] = self._view(whole, shape, step)
        name = f"{call.op.name_hint}_at_{part.place}"
        self._call(step, self._added(name, part.position, part.kernel, call.op), arguments)

    def _view(self, whole: relax.Var, shape: tuple[int, ...], step: int) -> relax.Var:
        """The whole in another shape, from `step` on: makers come in the order of their parts' first use."""
        if tuple(int(extent) for extent in whole.ty.shape) == shape:
            return whole
        view = self.builder.normalize(relax.op.reshape(whole, shape))
        var = relax.Var("columns", view.ty)
        self.before.setdefault(step, []).append(relax.VarBinding(var, view))
        return var

    def _copy_rest(self, call: KernelCall, made: Mapping[int, _Part]) -> None:
        """Let the concatenation copy only what is not made in the whole."""
        arguments = self.bindings[call.step].value.args
        if len(made) == len(arguments) - 1:
            self.bindings[call.step] = None
            return
        kernel = _without_copies(self.kernel(call.step), made)
        rest = [argument for number, argument in enumerate(arguments) if number not in made]
        name = f"{call.kernel.name_hint}_but_{'_'.join(map(str, sorted(made)))}"
        self._call(call.step, self._added(name, -1, kernel, call.kernel), rest)

    def _added(self, name: str, position: int, kernel: tirx.PrimFunc, old: ir.GlobalVar) -> ir.GlobalVar:
        """The variable of a changed kernel, which is added if it is new; `position` is that of the whole."""
        key = name, position
        if key not in self.kernels:
            before = self.builder.get()[old].attrs.get(SCHEDULED_AS, old.name_hint)
            self.kernels[key] = self.builder.add_func(kernel.with_attr(SCHEDULED_AS, before), name)
        return self.kernels[key]

    def _call(self, step: int, kernel: ir.GlobalVar, arguments: list[ir.Expr]) -> None:
        old = self.bindings[step]
        value = ir.Call(kernel, arguments, old.value.attrs, old.value.ty_args)
        self.bindings[step] = relax.VarBinding(old.var, self.builder.normalize(value))


def _without_copies(kernel: tirx.PrimFunc, parts: Mapping[int, object]) -> tirx.PrimFunc:
    """A concatenation's kernel without some of its parts, by number."""
    names = {kernel.params[number].name for number in parts}

    def dropped(realize: s_tir.SBlockRealize) -> tirx.Stmt:
        return tirx.Evaluate(0) if realize.block.name_hint in names else realize

    body = tvm_ffi.structural_map(kernel.body, (s_tir.SBlockRealize, dropped))
    parameters = [each for number, each in enumerate(kernel.params) if number not in parts]
    return tirx.PrimFunc(parameters, body, kernel.ret_type, kernel.attrs, kernel.span)
