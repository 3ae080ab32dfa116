"""From scheduled kernels to lib<model>.so and <model>.h."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compile.c_library import sources
from compile.c_library.kernels import compile_kernels
from compile.c_library.program import straight_line
from compile.lower import Lowered
from targets.cores import Core
from targets.toolchain import compile_object, link_standalone

# The caller of the kernels runs before the CPU is checked, so it is compiled for any: no -mcpu, and no
# outlined atomics, which pull in a helper for each.
FLAGS = (
    *("-std=gnu11", "-O2", "-fPIC", "-mno-outline-atomics"),
    *("-fno-sanitize=undefined", "-Wall", "-Wextra", "-Werror"),
)


def build_c_library(lowered: Lowered, core: Core, description: Mapping[str, Any], folder: Path) -> None:
    """Write the library and the header of a network, which the manifest describes so, into `folder`.

    Raises UserError where the network does more than call kernels, or the toolchain is missing.
    """
    name = sources.c_name(description["model"])
    program = straight_line(lowered, core)
    (folder / f"{name}.h").write_text(sources.header(name, description), encoding="utf-8")
    with tempfile.TemporaryDirectory() as aside:
        kernels, weights, caller = (Path(aside) / part for part in ("kernels.o", "weights.o", "caller.o"))
        symbols = {kernel: sources.kernel_symbol(name, kernel) for kernel in program.kernels}
        bodies = {symbols[kernel]: body for kernel, body in program.kernels.items()}
        scratch = compile_kernels(bodies, core, kernels)
        program = program.with_scratch({kernel: scratch[symbol] for kernel, symbol in symbols.items()})
        blob = weights.with_suffix(".bin")
        blob.write_bytes(program.weights)
        weights.with_suffix(".S").write_text(sources.weights_source(name, str(blob)))
        compile_object(weights.with_suffix(".S"), weights, ())
        caller.with_suffix(".c").write_text(sources.source(name, description, program))
        compile_object(caller.with_suffix(".c"), caller, (*FLAGS, f"-I{folder}"))
        exported = [f"{name}_{function}" for function in sources.FUNCTIONS]
        link_standalone([caller, kernels, weights], folder / f"lib{name}.so", exported)
