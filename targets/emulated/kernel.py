"""What one kernel costs on the emulated board, alone: counted as in a network, and estimated from that.

The kernel is linked with a program that runs it once (kernel.c), its weights being in no cache and its other
tensors as near as what the kernel before has just written: as the network's own count finds them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from targets.agent.sources import C_FLAGS, wheel_folder
from targets.cache import cached, content_key
from targets.cores import Core
from targets.emulated.estimate import Estimate, estimate
from targets.emulated.launch import Launch
from targets.emulated.profile import Caches, Profile, profile_whole
from targets.symbols import Functions
from targets.toolchain import compile_object, compile_program, toolchain_versions

SYMBOL = "kernel"
"""The name that the kernel's function must have (`global_symbol`)."""
ROLES = ("constant", "data", "output", "workspace")

_SOURCE = Path(__file__).with_name("kernel.c")
_FLUSHES = 2
"""How many times the second-level cache is walked through to empty it."""
_DL_TYPES = {"i": 0, "u": 1, "f": 2}  # DLDataTypeCode, of dlpack.h, by NumPy's kind
_KIB = 1024


@dataclass(frozen=True)
class Argument:
    """One of a kernel's tensors: its role (of ROLES), shape and dtype, and its values if it is read."""

    role: str
    shape: tuple[int, ...]
    dtype: str = "float32"
    values: NDArray[Any] | None = None


@dataclass(frozen=True)
class KernelRun:
    """What one call of a kernel executed, costs (estimated), and computed."""

    profile: Profile
    estimate: Estimate
    output: NDArray[Any]


def link_kernel(objects: Sequence[Path], output: Path) -> None:
    """Link a kernel's object files with the program that runs it."""
    compile_program([_driver(), *objects], output, language="cc")


def run_kernel(program: Path, core: Core, arguments: Sequence[Argument], seconds: float) -> KernelRun:
    """Run a kernel that `link_kernel` linked, on emulated `core`; files of the run go beside it.

    Raises DeviceError when it crashes or does not end within `seconds`.
    """
    folder = program.parent
    file, result = folder / "arguments.bin", folder / "output.bin"
    _write(arguments, file)
    caches = Caches.of(core)
    command = [f"./{program.name}", file.name, result.name, str(_FLUSHES * caches.l2_kib * _KIB)]
    launch = Launch(seconds=seconds, inherits=False, folder=folder)
    found = profile_whole(core, command, [caches], launch)
    functions = Functions(program)
    own = {each for each in functions.all if each.name.startswith(f"{SYMBOL}_compute_")}
    blocks = tuple(
        block for block in found.blocks if block.file is not None and functions.at(block.offset) in own
    )
    first = next(argument for argument in arguments if argument.role == "output")
    output = np.fromfile(result, first.dtype).reshape(first.shape)
    return KernelRun(Profile(blocks, found.caches), estimate(blocks, core), output)


def _write(arguments: Sequence[Argument], file: Path) -> None:
    with file.open("wb") as output:
        for argument in arguments:
            kind = np.dtype(argument.dtype)
            numbers = (_DL_TYPES[kind.kind], 8 * kind.itemsize, *argument.shape)
            output.write(f"{argument.role} {' '.join(map(str, numbers))}\n".encode())
        output.write(b"\n")
        for argument in arguments:
            if argument.values is not None:
                output.write(np.ascontiguousarray(argument.values).tobytes())


@cache
def _driver() -> Path:
    ffi = wheel_folder("tvm_ffi")
    folders = (ffi / "include", ffi / "3rdparty" / "dlpack" / "include")
    includes = [f"-I{folder}" for folder in folders if folder.is_dir()]
    key = content_key([_SOURCE, toolchain_versions(), *C_FLAGS])
    flags = [*C_FLAGS, *includes]
    return cached("objects", f"kernel-{key}.o", lambda output: compile_object(_SOURCE, output, flags))
