"""The library's C header and source, from a program and the manifest's description of the network."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from importlib.resources import files
from string import Template
from typing import Any

from compile.c_library.errors import NoCLibraryError
from compile.c_library.features import cpuids, hwcaps, saved
from compile.c_library.names import kernel_symbol
from compile.c_library.program import Copy, Place, Program
from compile.passes.arena import ALIGNMENT
from compile.passes.kernel_parameters import item_bytes
from targets.cores import Core, find_core, lineage
from targets.parts import parts
from targets.platforms import CpuCheck

MAX_RANK = 8

FUNCTIONS = (
    *("version", "core", "message", "input", "output", "workspace_size"),
    *("create", "threads", "pinned", "run", "destroy"),
)
"""What the header declares, each after the library's name."""

Row = Mapping[str, Any]
"""An input or output as the manifest has it: name, shape, dtype, layout."""


def header(name: str, description: Mapping[str, Any], threads: int) -> str:
    """The public header of the library called `name`, whose runs so many threads at most share.

    Raises NoCLibraryError where a tensor has more than MAX_RANK dimensions.
    """
    rows = (*description["inputs"], *description["outputs"])
    if any(len(row["shape"]) > MAX_RANK for row in rows):
        raise NoCLibraryError(
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
        threads=threads,
    )


def source(
    name: str,
    description: Mapping[str, Any],
    programs: Sequence[tuple[Core, Program]],
    cpu_check: CpuCheck,
    threads: int,
) -> str:
    """The C file that calls the kernels of the CPU's program in their order, and is the header's functions.

    Of the cores, the first that a CPU can run is taken where nothing else decides.
    """
    return _filled(
        "model.c.in",
        name,
        description,
        threads=threads,
        cpu_check=cpu_check,
        declarations="\n".join(_declarations(name, *each) for each in programs),
        input_rows=_rows(description["inputs"]),
        output_rows=_rows(description["outputs"]),
        variants=_variants(name, description["outputs"], programs, cpu_check),
    )


def weights_source(name: str, blob: str) -> str:
    """Assembly that puts the file `blob` into the library's read-only data."""
    symbol = f"{name}_weights"
    return (
        f'.section .rodata.weights, "a"\n.balign {ALIGNMENT}\n.global {symbol}\n.hidden {symbol}\n'
        f'{symbol}:\n.incbin {json.dumps(blob)}\n.section .note.GNU-stack, "", %progbits\n'
    )


def _hwcap(features: Collection[str]) -> str:
    first, second = hwcaps(features)
    return f"{{{first:#x}, {second:#x}}}"


def _cpuid(features: Collection[str]) -> str:
    rows = [f"{{{leaf:#x}, {register}, {bits:#x}}}" for leaf, register, bits in cpuids(features)]
    return f"{{{saved(features):#x}, {len(rows)}, {{{', '.join(rows)}}}}}"


_NEEDS: Mapping[CpuCheck, Callable[[Collection[str]], str]] = {"hwcap": _hwcap, "cpuid": _cpuid}
"""The `needs` of cpu_hwcap.h and of cpu_cpuid.h, from the features that the kernels use."""


def _template(name: str) -> str:
    return (files("compile.c_library") / name).read_text(encoding="utf-8")


def _filled(template: str, name: str, description: Mapping[str, Any], **values: object) -> str:
    text = _template(template)
    common = {
        "name": name,
        "upper": name.upper(),
        "title": name,
        "core": ",".join(core["name"] for core in description["cores"]),
        "version": description["versions"]["armature"],
    }
    return Template(text).substitute(common, **values)


def _declarations(name: str, core: Core, program: Program) -> str:
    parameters = {
        call.kernel: [*(["int32_t"] * 3 if call.units else []), *(["void *"] * len(call.arguments))]
        for call in program.calls
    }
    return "\n".join(
        f"void {kernel_symbol(name, core.name, kernel)}({', '.join(types)});"
        for kernel, types in parameters.items()
    )


def _rows(rows: Sequence[Row]) -> str:
    return "\n".join(f"    {_row(row)}," for row in rows)


def _row(row: Row) -> str:
    texts = ", ".join(json.dumps(row[key] or "") for key in ("name", "dtype", "layout"))
    shape = ", ".join(map(str, row["shape"])) or "0"
    element = item_bytes(row["dtype"])
    # No network computes with quantised numbers yet: elements are what they say.
    return f"{{{texts}, {len(row['shape'])}, {{{shape}}}, {_size(row)}, {element}, 1.0, 0}}"


def _size(row: Row) -> int:
    return math.prod(row["shape"]) * item_bytes(row["dtype"])


def _variants(
    name: str, outputs: Sequence[Row], programs: Sequence[tuple[Core, Program]], cpu_check: CpuCheck
) -> str:
    """The functions that do the network's steps, the table of cores that have one, and that of the designs of
    CPUs which they are for.
    """
    functions = [_infer(name, *each, number, outputs) for number, each in enumerate(programs)]
    rows = [
        f'{{"{core.name}", {_NEEDS[cpu_check](core.features)}, '
        f"{program.workspace_bytes}, {program.own_bytes}, infer_{number}}}"
        for number, (core, program) in enumerate(programs)
    ]
    kin = [
        f"{{{implementer << 12 | part:#x}, {number}}}"
        for number, implementer, part in _kin([core for core, _ in programs])
    ]
    tables = (
        f"static const variant kVariants[] = {{\n    {', '.join(rows)},\n}};",
        "/* The implementer and part of a CPU, and the variant for it. */\n"
        "static const struct {\n  unsigned part, variant;\n"
        f"}} kParts[] = {{{', '.join([*kin, '{0, 0}'])}}};",
    )
    return "\n\n".join([*functions, *tables])


def _kin(cores: Sequence[Core]) -> Iterator[tuple[int, int, int]]:
    """(Number of the core, implementer, part) of each CPU whose lineage has one of `cores`."""
    if len(cores) < 2:
        return
    for name, numbers in parts().items():
        line = [each.name for each in lineage(find_core(name))]
        near = [(line.index(core.name), number) for number, core in enumerate(cores) if core.name in line]
        for implementer, part in numbers if near else ():
            yield min(near)[1], implementer, part


def _infer(name: str, core: Core, program: Program, number: int, outputs: Sequence[Row]) -> str:
    steps: dict[tuple[str, tuple[Place, ...]], str] = {}
    functions, lines = [], []
    for call in program.calls:
        symbol = kernel_symbol(name, core.name, call.kernel)
        places = ", ".join(map(_spelled, call.arguments))
        if not call.units:
            lines.append(f"{symbol}({places});")
            continue
        key = call.kernel, call.arguments
        if key not in steps:
            steps[key] = f"step_{number}_{len(steps)}"
            functions.append(_STEP.format(step=steps[key], symbol=symbol, units=call.units, places=places))
        lines.append(f"share(handle, frame, {steps[key]}, {call.turn}, {call.threads});")
    lines += [_copy(copy, outputs) for copy in program.copies]
    body = "".join(f"  {line}\n" for line in lines)
    return "\n".join([*functions, _INFER.format(name=name, number=number, body=body)])


_INFER = """\
static void infer_{number}({name}_handle *handle, const frame *frame) {{
  (void)handle;
  (void)frame;
{body}}}"""

_STEP = """\
static void {step}(const void *given, int turn, int thread, int threads) {{
  const frame *frame = given;
  {symbol}(turn, FIRST({units}, thread), FIRST({units}, thread + 1), {places});
}}
"""


def _copy(copy: Copy, outputs: Sequence[Row]) -> str:
    return f"memcpy(OUTPUT({copy.output}, 0), {_spelled(copy.source)}, {_size(outputs[copy.output])});"


def _spelled(place: Place) -> str:
    index = f"{place.index}, " if place.base in ("input", "output", "own") else ""
    return f"{place.base.upper()}({index}{place.offset})"
