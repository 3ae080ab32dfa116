"""`main` as straight-line calls: which kernel runs when, and where each of its tensors lies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import Literal

import numpy as np
from tvm import ir, relax, tirx

from compile.build import allocated
from compile.c_library.errors import NoCLibraryError
from compile.lower import Lowered
from compile.passes.arena import ALIGNMENT
from compile.passes.constants import Array, array_of
from compile.passes.kernel_parameters import allow_aliases
from compile.passes.liveness import ALLOCATION, VIEWS, Liveness, liveness_of
from compile.passes.plan_memory import Plan
from targets.cores import Core

Base = Literal["input", "output", "workspace", "weights", "own"]


@dataclass(frozen=True)
class Place:
    """Where a tensor begins: `offset` bytes into the arena, the weights, or the caller's buffer `index`.

    What each thread has for itself ("own") is `index` bytes into the arena for the first thread, and `offset`
    bytes into the memory that each other thread has.
    """

    base: Base
    index: int = 0
    offset: int = 0


@dataclass(frozen=True)
class Call:
    """A kernel, by its name, and what it is given.

    Where threads share it, it is a `schedules.share.Share` of `units`, and `threads` at most do it;
    `own_bytes` is what its "own" places take.
    """

    kernel: str
    arguments: tuple[Place, ...]
    units: int = 0
    turn: int = 0
    threads: int = 1
    own_bytes: int = 0


@dataclass(frozen=True)
class Copy:
    """The whole output `output` is what lies at `source`: it is another output too, or was never computed."""

    output: int
    source: Place


@dataclass
class Weights:
    """Constants one after the other, each at a multiple of ALIGNMENT; equal bytes are stored once."""

    content: bytearray = field(default_factory=bytearray)
    offsets: dict[bytes, int] = field(default_factory=dict)

    def place(self, value: Array) -> Place:
        """Where `value` lies, which is added if it is new."""
        data = np.ascontiguousarray(value).tobytes()
        if data not in self.offsets:
            self.content.extend(bytes(-len(self.content) % ALIGNMENT))
            self.offsets[data] = len(self.content)
            self.content.extend(data)
        return Place("weights", 0, self.offsets[data])


@dataclass(frozen=True)
class Program:
    """What an inference does, with all its memory laid out."""

    calls: tuple[Call, ...]
    copies: tuple[Copy, ...]
    kernels: Mapping[str, tirx.PrimFunc]
    workspace_bytes: int
    own_bytes: int = 0
    """What each thread but the first needs for itself."""

    def with_scratch(self, scratch: Mapping[str, Sequence[int]]) -> Program:
        """The program whose kernels, by name, also get buffers of so many bytes, behind the arena.

        They are the kernel's while it runs, and where threads share it each thread's: all kernels share the
        place.
        """
        begin = aligned(self.workspace_bytes)
        calls = tuple(_with_buffers(call, scratch[call.kernel], begin) for call in self.calls)
        ends = (_end(scratch[call.kernel], begin) for call in self.calls)
        own = (_end(scratch[call.kernel], call.own_bytes) for call in calls if call.units)
        return replace(
            self, calls=calls, workspace_bytes=max(ends, default=begin), own_bytes=max(own, default=0)
        )


def _with_buffers(call: Call, sizes: Sequence[int], begin: int) -> Call:
    starts, own = (_starts(sizes, first)[:-1] for first in (begin, call.own_bytes))
    if call.units:
        places = tuple(Place("own", *pair) for pair in zip(starts, own, strict=True))
    else:
        places = tuple(Place("workspace", 0, start) for start in starts)
    return replace(call, arguments=call.arguments + places)


def _starts(sizes: Sequence[int], begin: int) -> list[int]:
    return list(accumulate(map(aligned, sizes), initial=begin))


def _end(sizes: Sequence[int], begin: int) -> int:
    return _starts(sizes, begin)[-1]


def straight_line(lowered: Lowered, core: Core, weights: Weights) -> Program:
    """The program of a network compiled for `core`, by the bundle's memory plan; its constants go into
    `weights`.

    Raises NoCLibraryError where `main` calls anything but kernels.
    """
    module, plan = allocated(lowered, core)
    reader = _Reader(module["main"], plan, weights)
    kernels = {
        var.name_hint: allow_aliases(module[var]) if var in plan.aliased else module[var]
        for var in dict.fromkeys(plan.calls)
    }
    return Program(tuple(reader.calls), tuple(reader.copies), kernels, plan.arena_bytes)


class _Reader:
    """Follows `main` binding by binding."""

    def __init__(self, main: relax.Function, plan: Plan, weights: Weights) -> None:
        self.plan = plan
        self.calls: list[Call] = []
        self.copies: list[Copy] = []
        self.weights = weights
        self.places: dict[relax.Var, Place] = {var: Place("input", i) for i, var in enumerate(main.params)}
        self.tuples: dict[relax.Var, ir.Expr] = {}
        bindings = [binding for block in main.body.blocks for binding in block.bindings]
        for binding in bindings:
            if isinstance(binding.value, relax.Tuple):
                self.tuples[binding.var] = binding.value
        result = self.tuples.get(main.body.body, main.body.body)
        outputs = tuple(result.fields) if isinstance(result, relax.Tuple) else (result,)
        self.outputs = _computed_in_place(outputs, liveness_of(main))
        for binding in bindings:
            self._follow(binding)
        for index, output in enumerate(outputs):
            source = self._place(output)
            if source != Place("output", index):
                self.copies.append(Copy(index, source))

    def _follow(self, binding: relax.Binding) -> None:
        var, value = binding.var, binding.value
        operator = getattr(getattr(value, "op", None), "name", "")
        if var in self.plan.needless or var in self.tuples:
            return
        if operator == ALLOCATION:
            self.places[var] = self._allocation(var)
        elif operator in VIEWS:
            self.places[var] = self._place(value.args[0])
        elif isinstance(value, ir.Call) and isinstance(value.op, ir.GlobalVar):
            arguments = tuple(self._place(argument) for argument in value.args)
            self.calls.append(Call(value.op.name_hint, arguments))
        else:
            self.places[var] = self._place(value)

    def _allocation(self, var: relax.Var) -> Place:
        if var in self.plan.offsets:
            return Place("workspace", 0, self.plan.offsets[var])
        whole, start = self.plan.inside.get(var, (var, 0))
        if whole not in self.outputs:
            raise _unsupported(f"the tensor {var.name_hint}, which is neither intermediate nor output")
        return Place("output", self.outputs[whole], start)

    def _place(self, expression: ir.Expr) -> Place:
        if isinstance(expression, relax.Var) and expression in self.places:
            return self.places[expression]
        value = array_of(expression)
        if value is None:
            raise _unsupported(str(expression).strip().splitlines()[-1])
        return self.weights.place(value)


def _computed_in_place(outputs: tuple[ir.Expr, ...], seen: Liveness) -> dict[relax.Var, int]:
    """The allocations that are outputs, or that outputs are views of, and the first such output."""
    first: dict[relax.Var, int] = {}
    for index, output in enumerate(outputs):
        root = seen.roots.get(output) if isinstance(output, relax.Var) else None
        if root is not None:
            first.setdefault(root, index)
    return first


def aligned(size: int) -> int:
    """`size`, up to whole ALIGNMENTs."""
    return size + -size % ALIGNMENT


def _unsupported(what: str) -> NoCLibraryError:
    return NoCLibraryError(
        f"This network cannot be a C library yet: its program has {what[:120]}.\n"
        "Compile it as a bundle (--format bundle)."
    )
