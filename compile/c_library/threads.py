"""Which calls of a program the threads of a run share, and among how many."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from tvm import tirx

from compile.c_library.names import share_name
from compile.c_library.program import Call, Place, Program, aligned
from compile.passes.kernel_parameters import buffer_bytes
from schedules.kernel import Workload
from schedules.share import Share
from schedules.shares import shares_of

SMALLEST = 32 * 1024
"""Multiply-adds, or elements moved, that are worth a thread: about 10 thousand cycles of a small core, where
handing over takes one or two thousand.
"""


def shared(program: Program, workloads: Mapping[str, Workload], threads: int) -> Program:
    """The program of which so many threads at most can do kernels together; their workloads are by name."""
    if threads == 1:
        return program
    shares = {
        name: _worthwhile(shares_of(kernel, workloads.get(name), threads), threads)
        for name, kernel in program.kernels.items()
    }
    kernels: dict[str, tirx.PrimFunc] = {}
    calls: list[Call] = []
    for call in program.calls:
        parts = shares[call.kernel]
        if not parts:
            calls.append(call)
            kernels[call.kernel] = program.kernels[call.kernel]
        for turn in range(parts[0].turns if parts else 0):
            for number, part in enumerate(parts):
                shared_call = _shared_call(call, part, number, threads, program.kernels[call.kernel])
                kernels[shared_call.kernel] = part.function
                calls.append(replace(shared_call, turn=turn))
    return replace(program, calls=tuple(calls), kernels=kernels)


def _worthwhile(parts: list[Share], threads: int) -> list[Share]:
    return parts if any(_threads(part, threads) > 1 for part in parts) else []


def _threads(part: Share, threads: int) -> int:
    return max(1, min(threads, part.units, part.work // SMALLEST))


def _shared_call(call: Call, part: Share, number: int, threads: int, kernel: tirx.PrimFunc) -> Call:
    arguments, taken = list(call.arguments), 0
    for position in part.own:
        first = arguments[position]
        assert first.base == "workspace"
        arguments[position] = Place("own", first.offset, taken)
        taken = aligned(taken + buffer_bytes(kernel.params[position]))
    return Call(
        share_name(call.kernel, number),
        tuple(arguments),
        units=part.units,
        threads=_threads(part, threads),
        own_bytes=taken,
    )
