"""Builds the program that lies beside a C library and runs it: once for a platform, then cached."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from targets.agent.sources import C_FLAGS, SRC
from targets.cache import cached, content_key
from targets.platforms import Platform
from targets.toolchain import compile_object, compile_program, toolchain_versions

_HERE = Path(__file__).parent
SOURCES = (_HERE / "main.c", _HERE / "model.c", SRC / "run.c", SRC / "c_library.c")
"""The command line is the agent's."""
LINK_FLAGS = ("-O2", "-Wl,--gc-sections", "-s")


def has_runner(platform: Platform) -> bool:
    """Whether there is such a program: it needs glibc's way to load a library."""
    return "-linux-gnu" in platform.zig


def build_runner(platform: Platform) -> Path:
    """The program for a platform that has one, built if it is not in the cache.

    Raises UserError when Zig is missing, or the build fails.
    """
    headers = sorted(SRC.glob("*.h"))
    flags = (*C_FLAGS, *platform.flags, *LINK_FLAGS)
    key = content_key([toolchain_versions(), platform.zig, *flags, *SOURCES, *headers])
    return cached("runners", key, partial(_build, platform))


def _build(platform: Platform, output: Path) -> None:
    objects = [output.with_name(f"{source.stem}.o") for source in SOURCES]
    for source, compiled in zip(SOURCES, objects, strict=True):
        compile_object(source, compiled, (*C_FLAGS, *platform.flags, f"-I{SRC}"), platform.zig)
    compile_program(objects, output, LINK_FLAGS, "cc", platform.zig)
