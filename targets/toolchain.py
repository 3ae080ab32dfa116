"""The cross compiler and linker (Zig): C, C++ and object files to code for a platform, or for the board."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from targets.cache import cache_folder
from targets.errors import UserError
from targets.localize import localized
from targets.platforms import LINUX_ARM, Platform

BOARD = LINUX_ARM.zig
"""What is linked for where nothing is said: the agent's platform."""

_WITHOUT_DEBUG = Path(__file__).with_name("without_debug.ld")

log = logging.getLogger(__name__)


def toolchain_versions() -> str:
    """What decides the compiled bytes besides sources and flags: versions of Zig, TVM and its FFI."""
    _require_zig()
    names = ("ziglang", "apache-tvm", "apache-tvm-ffi")
    return " ".join(f"{name}={_version(name)}" for name in names) + f" {BOARD}"


def compile_object(source: Path, output: Path, flags: Sequence[str], target: str = BOARD) -> None:
    """Compiles one C or C++ file (by its suffix) to an object file for `target`, as Zig calls it.

    Raises:
        UserError: Zig is missing, or the compiler refuses the source.
    """
    language = "cc" if source.suffix == ".c" else "c++"
    arguments = (*flags, "-c", str(source), "-o", str(output))
    _zig(language, *arguments, what=f"compiling {source.name}", target=target)


def compile_program(
    objects: Sequence[Path],
    output: Path,
    flags: Sequence[str] = (),
    language: str = "c++",
    target: str = BOARD,
) -> None:
    """Links object files for `target`, as Zig calls it, to a program; where the `language` is "c++",
    the C++ library goes into it.

    Raises:
        UserError: Zig is missing, or the linker refuses the objects.
    """
    arguments = (*map(str, objects), "-o", str(output), *flags)
    _zig(language, *arguments, what=f"linking {output.name}", target=target)


def link_shared(objects: Sequence[Path], output: Path) -> None:
    """Links ARM object files to a shared library for glibc 2.28, without debug sections.

    TVM's symbols may stay undefined: the agent that loads the library has them.

    Raises:
        UserError: Zig is missing, or the linker refuses the objects.
    """
    flags = ("-shared", "-Wl,--gc-sections", f"-Wl,-T,{_WITHOUT_DEBUG}")
    _zig("cc", *map(str, objects), "-o", str(output), *flags, what=f"linking {output.name}")


def link_standalone(
    objects: Sequence[Path], output: Path, exported: Sequence[str], platform: Platform
) -> None:
    """Links object files for `platform` to a shared library that needs libc, libm and libpthread at most, and
    in which only the functions `exported` can be seen from outside.

    Raises:
        UserError: Zig is missing, or the linker refuses the objects; a symbol that they lack is such a case.
    """
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "exported"
        script.write_text(f"{{ global: {' '.join(f'{name};' for name in exported)} local: *; }};\n")
        flags = (
            *("-shared", "-O2", f"-Wl,-soname,{output.name}", "-Wl,--gc-sections", "-Wl,-z,defs"),
            *(f"-Wl,--version-script={script}", f"-Wl,-T,{_WITHOUT_DEBUG}", "-Wl,--as-needed"),
            *platform.linking,
        )
        libraries = _stand_ins(platform, Path(folder)) if platform.needed else ["-lm", "-lpthread"]
        arguments = (*map(str, objects), "-o", str(output), *flags, *libraries)
        _zig("cc", *arguments, what=f"linking {output.name}", target=platform.zig)


def _stand_ins(platform: Platform, folder: Path) -> list[str]:
    """Libraries of the names that the platform's have, whose functions are there to be linked against."""
    libraries = []
    for name, functions in platform.needed.items():
        source, library = folder / f"{name}.S", folder / name
        source.write_text("".join(f".globl {each}\n.type {each}, %function\n{each}:\n" for each in functions))
        flags = ("-shared", "-nostdlib", f"-Wl,-soname,{name}", "-o", str(library))
        _zig("cc", str(source), *flags, what=f"making a stand-in for {name}", target=platform.zig)
        libraries.append(str(library))
    return [*libraries, _llvm_functions(platform, folder)] if platform.divides else libraries


def _llvm_functions(platform: Platform, folder: Path) -> str:
    """A static library of what LLVM calls where there is no instruction; of the C library's, what it has too
    is taken if that comes first.
    """
    empty, library = folder / "empty.c", folder / "libllvm.a"
    empty.write_text("")
    flags = ("-static", "-fcompiler-rt", "-OReleaseSmall", str(empty), f"-femit-bin={library}")
    _zig("build-lib", *flags, what="making LLVM's functions", target=platform.zig)
    return str(library)


def link_archive(objects: Sequence[Path], output: Path, exported: Sequence[str], target: str = BOARD) -> None:
    """Links object files for `target`, as Zig calls it, to a static library of one object, in which only the
    functions `exported` can be seen from outside.

    Raises:
        UserError: Zig is missing, or the linker refuses the objects.
    """
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / f"{output.stem.removeprefix('lib')}.o"
        flags = ("-r", "-nostdlib", "-Wl,--strip-debug", "-o", str(whole))
        _zig("cc", *map(str, objects), *flags, what=f"linking {output.name}", target=target)
        whole.write_bytes(localized(whole.read_bytes(), exported))
        _run_zig("ar", "rcsD", str(output), str(whole), what=f"making {output.name}")


def link_host_plugin(source: Path, output: Path) -> None:
    """Compiles a C file to a shared library for this machine, whose loader has the symbols it lacks.

    Raises:
        UserError: Zig is missing, or the compiler refuses the source.
    """
    _zig("cc", "-shared", "-fPIC", "-O2", str(source), "-o", str(output), what=source.name, target="native")


def _zig(language: str, *arguments: str, what: str, target: str = BOARD) -> None:
    _run_zig(language, "-target", target, *arguments, what=f"{what} for {target}")


def _run_zig(*arguments: str, what: str) -> None:
    _require_zig()
    command = [sys.executable, "-m", "ziglang", *arguments]
    log.debug("%s", " ".join(command))
    done = subprocess.run(command, capture_output=True, text=True, env=_environment(), check=False)
    if done.returncode != 0:
        log.debug("%s", done.stderr)
        raise UserError(f"{what} failed: {_first_error(done.stderr)}")


def _first_error(output: str) -> str:
    lines = output.strip().splitlines() or ["the compiler said nothing"]
    return next((line for line in lines if "error" in line), lines[-1])


def _environment() -> dict[str, str]:
    zig = cache_folder() / "zig"
    return {**os.environ, "ZIG_GLOBAL_CACHE_DIR": str(zig), "ZIG_LOCAL_CACHE_DIR": str(zig)}


@cache
def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "unknown"


def _require_zig() -> None:
    if find_spec("ziglang") is None:
        raise UserError("the cross compiler (Zig) is missing: pip install ziglang==0.17.0")
