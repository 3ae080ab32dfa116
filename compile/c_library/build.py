"""From scheduled kernels to lib<model>.so and <model>.h."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from compile.c_library import sources
from compile.c_library.kernels import compile_kernels
from compile.c_library.names import c_name, kernel_symbol
from compile.c_library.program import Program, Weights, straight_line
from compile.c_library.threads import shared
from compile.lower import Lowered
from targets.cores import Core
from targets.platforms import Platform
from targets.toolchain import compile_object, link_archive, link_standalone

HEADERS = ("pool.h", "cpus.h", "cpu_hwcap.h", "cpu_cpuid.h")
"""What the calls in C include besides the public header."""

# The caller of the kernels runs before the CPU is checked, so it is compiled for any: no -mcpu.
FLAGS = ("-std=gnu11", "-O2", "-fPIC", "-fno-sanitize=undefined", "-Wall", "-Wextra", "-Werror")


Variants = Sequence[tuple[Core, Lowered]]
"""The network for each core that a library has kernels for."""


@dataclass(frozen=True)
class Parts:
    """What a library is made of: the calls in C, beside what they include, and objects with the kernels for
    each core and the weights.
    """

    caller: Path
    kernels: tuple[Path, ...]
    weights: Path

    @property
    def objects(self) -> tuple[Path, ...]:
        """All but the calls."""
        return (*self.kernels, self.weights)


def build_c_library(
    variants: Variants, platform: Platform, description: Mapping[str, Any], folder: Path, threads: int
) -> None:
    """Write the library and the header of a network, which the manifest describes so, into `folder`. So many
    threads at most share a run.

    Raises NoCLibraryError where the network does more than call kernels, UserError where the toolchain is
    missing.
    """
    name = c_name(description["model"])
    with tempfile.TemporaryDirectory() as aside:
        parts = write_parts(variants, platform, description, Path(aside), threads)
        header = folder / f"{name}.h"
        header.write_bytes((Path(aside) / header.name).read_bytes())
        caller = parts.caller.with_suffix(".o")
        compile_object(parts.caller, caller, (*FLAGS, *platform.flags), platform.zig)
        exported = [f"{name}_{function}" for function in sources.FUNCTIONS]
        objects = [caller, *parts.objects]
        link_standalone(objects, folder / f"lib{name}.so", exported, platform)
        link_archive(objects, folder / f"lib{name}.a", exported, platform.zig)


def write_parts(
    variants: Variants, platform: Platform, description: Mapping[str, Any], folder: Path, threads: int
) -> Parts:
    """Write all that a library is made of, and its header, into `folder`. Raises as `build_c_library`."""
    name = c_name(description["model"])
    weights = Weights()
    # What uses most of a CPU first.
    variants = sorted(variants, key=lambda each: -len(each[0].features))
    kernels = tuple(folder / f"{core.name}.o" for core, _ in variants)
    programs = [
        (core, _compiled(_shared(lowered, core, weights, threads), name, core, platform, output))
        for (core, lowered), output in zip(variants, kernels, strict=True)
    ]
    threads = max((call.threads for _, program in programs for call in program.calls), default=1)
    parts = Parts(folder / "caller.c", kernels, folder / "weights.o")
    for file in HEADERS:
        (folder / file).write_text((files("compile.c_library") / file).read_text(encoding="utf-8"))
    (folder / f"{name}.h").write_text(sources.header(name, description, threads), encoding="utf-8")
    parts.caller.write_text(sources.source(name, description, programs, platform.cpu_check, threads))
    blob, assembly = parts.weights.with_suffix(".bin"), parts.weights.with_suffix(".S")
    blob.write_bytes(weights.content)
    assembly.write_text(sources.weights_source(name, str(blob)))
    compile_object(assembly, parts.weights, (), platform.zig)
    return parts


def _shared(lowered: Lowered, core: Core, weights: Weights, threads: int) -> Program:
    workloads = {kernel.name: kernel.workload for kernel in lowered.kernels if kernel.workload}
    return shared(straight_line(lowered, core, weights), workloads, threads)


def _compiled(program: Program, name: str, core: Core, platform: Platform, output: Path) -> Program:
    """The program with the scratch that its kernels need, which are compiled into `output`."""
    symbols = {kernel: kernel_symbol(name, core.name, kernel) for kernel in program.kernels}
    bodies = {symbols[kernel]: body for kernel, body in program.kernels.items()}
    scratch = compile_kernels(bodies, platform.target(core), output)
    return program.with_scratch({kernel: scratch[symbol] for kernel, symbol in symbols.items()})
