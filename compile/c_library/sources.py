"""The library's C header and source, from a program and the manifest's description of the network."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from importlib.resources import files
from string import Template
from typing import Any

from compile.c_library.features import cpuids, hwcaps, saved
from compile.c_library.program import Copy, Place, Program
from compile.passes.arena import ALIGNMENT
from compile.passes.kernel_parameters import item_bytes
from targets.errors import UserError
from targets.platforms import CpuCheck

MAX_RANK = 8

FUNCTIONS = ("version", "core", "message", "input", "output", "workspace_size", "create", "run", "destroy")
"""What the header declares, each after the library's name."""

Row = Mapping[str, Any]
"""An input or output as the manifest has it: name, shape, dtype, layout."""


def c_name(model: str) -> str:
    """The name of a model as a C identifier, to which the header's names are appended."""
    name = re.sub(r"\W+", "_", model, flags=re.ASCII).strip("_")
    return name if name[:1].isalpha() else f"model_{name}"


def kernel_symbol(name: str, kernel: str) -> str:
    """The C function of a kernel."""
    return f"{name}_kernel_{kernel}"


def header(name: str, description: Mapping[str, Any]) -> str:
    """The public header of the library called `name`.

    Raises UserError where a tensor has more than MAX_RANK dimensions.
    """
    rows = (*description["inputs"], *description["outputs"])
    if any(len(row["shape"]) > MAX_RANK for row in rows):
        raise UserError(
            f"A C library's inputs and outputs have {MAX_RANK} dimensions at most: reshape them in the model."
        )
    return _filled(
        "model.h.in",
        name,
        description,
        inputs=len(description["inputs"]),
        outputs=len(description["outputs"]),
        max_rank=MAX_RANK,
        alignment=ALIGNMENT,
    )


def source(name: str, description: Mapping[str, Any], program: Program, cpu_check: CpuCheck) -> str:
    """The C file that calls the kernels of `program` in their order, and is the header's functions."""
    check = _CPU_CHECKS[cpu_check](description["core"]["features"])
    return _filled(
        "model.c.in",
        name,
        description,
        cpu_check=Template(_template(f"cpu_{cpu_check}.c.in")).substitute(check),
        arena_bytes=program.workspace_bytes,
        declarations=_declarations(name, program),
        input_rows=_rows(description["inputs"]),
        output_rows=_rows(description["outputs"]),
        calls=_calls(name, program, description["outputs"]),
    )


def weights_source(name: str, blob: str) -> str:
    """Assembly that puts the file `blob` into the library's read-only data."""
    symbol = f"{name}_weights"
    return (
        f'.section .rodata.weights, "a"\n.balign {ALIGNMENT}\n.global {symbol}\n.hidden {symbol}\n'
        f'{symbol}:\n.incbin {json.dumps(blob)}\n.section .note.GNU-stack, "", %progbits\n'
    )


def _hwcap(features: Collection[str]) -> dict[str, str]:
    first, second = hwcaps(features)
    return {"hwcap": hex(first), "hwcap2": hex(second)}


def _cpuid(features: Collection[str]) -> dict[str, str]:
    rows = ", ".join(f"{{{leaf:#x}, {register}, {bits:#x}}}" for leaf, register, bits in cpuids(features))
    return {"cpuids": rows, "xcr0": hex(saved(features))}


_CPU_CHECKS: Mapping[CpuCheck, Callable[[Collection[str]], dict[str, str]]] = {
    "hwcap": _hwcap,
    "cpuid": _cpuid,
}
"""What a check's template is filled with, from the features that the kernels use."""


def _template(name: str) -> str:
    return (files("compile.c_library") / name).read_text(encoding="utf-8")


def _filled(template: str, name: str, description: Mapping[str, Any], **values: object) -> str:
    text = _template(template)
    common = {
        "name": name,
        "upper": name.upper(),
        "title": name,
        "core": description["core"]["name"],
        "version": description["versions"]["armature"],
    }
    return Template(text).substitute(common, **values)


def _declarations(name: str, program: Program) -> str:
    arities = {call.kernel: len(call.arguments) for call in program.calls}
    return "\n".join(
        f"void {kernel_symbol(name, kernel)}({', '.join(['void *'] * arity)});"
        for kernel, arity in arities.items()
    )


def _rows(rows: Sequence[Row]) -> str:
    return "\n".join(f"    {_row(row)}," for row in rows)


def _row(row: Row) -> str:
    texts = ", ".join(json.dumps(row[key] or "") for key in ("name", "dtype", "layout"))
    shape = ", ".join(map(str, row["shape"])) or "0"
    element = item_bytes(row["dtype"])
    return f"{{{texts}, {len(row['shape'])}, {{{shape}}}, {_size(row)}, {element}}}"


def _size(row: Row) -> int:
    return math.prod(row["shape"]) * item_bytes(row["dtype"])


def _calls(name: str, program: Program, outputs: Sequence[Row]) -> str:
    calls = [
        f"  {kernel_symbol(name, call.kernel)}({', '.join(map(_spelled, call.arguments))});"
        for call in program.calls
    ]
    return "\n".join([*calls, *(_copy(copy, outputs) for copy in program.copies)])


def _copy(copy: Copy, outputs: Sequence[Row]) -> str:
    return f"  memcpy(OUTPUT({copy.output}, 0), {_spelled(copy.source)}, {_size(outputs[copy.output])});"


def _spelled(place: Place) -> str:
    index = f"{place.index}, " if place.base in ("input", "output") else ""
    return f"{place.base.upper()}({index}{place.offset})"
