"""Concatenations that need no copy: tensors that lie side by side in the result are made there.

A kernel whose result is its inputs one after the other (schedules/concat.py) has nothing to do when each of
them is allocated by `main`, whole, and for this result alone: they become places inside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate

from tvm import ir, relax

from compile.passes.liveness import KernelCall, Liveness
from schedules.concat import JOINS


@dataclass(frozen=True)
class Joins:
    """What needs no copy."""

    places: Mapping[relax.Var, tuple[relax.Var, int]]
    """The tensor in which a tensor lies, and at which byte; itself no part of another."""
    steps: frozenset[int]
    """The calls that have nothing left to do."""


def joins_of(module: ir.IRModule, seen: Liveness) -> Joins:
    """The concatenations of a `main` that need no copy."""
    direct: dict[relax.Var, tuple[relax.Var, int]] = {}
    steps: set[int] = set()
    for call in seen.calls:
        if bool(module[call.kernel].attrs.get(JOINS, False)) and _is_free(seen, call, direct):
            *parts, whole = call.arguments
            starts = accumulate((seen.allocated[part] for part in parts), initial=0)
            direct.update({part: (whole, start) for part, start in zip(parts, starts, strict=False)})
            steps.add(call.step)
    return Joins({part: _outermost(part, direct) for part in direct}, frozenset(steps))


def _is_free(seen: Liveness, call: KernelCall, taken: Mapping[relax.Var, object]) -> bool:
    """Whether each part can be made inside the whole."""
    *parts, whole = call.arguments
    if whole is None or seen.uses[whole][0] != call.step or len(set(parts)) != len(parts):
        return False
    are_own = all(
        part in seen.allocated and part not in seen.escaped and part not in taken and part is not whole
        for part in parts
    )
    return are_own and sum(seen.allocated[part] for part in parts) == seen.allocated.get(whole)


def _outermost(part: relax.Var, direct: Mapping[relax.Var, tuple[relax.Var, int]]) -> tuple[relax.Var, int]:
    whole, start = direct[part]
    if whole not in direct:
        return whole, start
    outer, further = _outermost(whole, direct)
    return outer, start + further
