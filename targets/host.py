"""This machine's CPU as a core to compile for."""

from __future__ import annotations

import re
from pathlib import Path

from targets.cores import X86_64, Core, find_core
from targets.errors import UserError
from targets.parts import core_name
from targets.platforms import host_platform

CPUINFO = Path("/proc/cpuinfo")

# The micro-architecture levels of the x86-64 psABI, section 3.1.1, which are LLVM's names too: what each has
# over the one before, as /proc/cpuinfo spells it. Caches as of Zen 2 to 5 and of Intel's cores since Skylake,
# the smaller where they differ.
V2 = frozenset({"cx16", "lahf_lm", "popcnt", "pni", "sse4_1", "sse4_2", "ssse3"})
V3 = V2 | {"abm", "avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "movbe"}
V4 = V3 | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}


def _level(number: int, features: frozenset[str], vector_bits: int, registers: int) -> Core:
    name = f"x86-64-v{number}"
    return Core(name, name, name, features, False, 2, 32, 8, 512, 8, None, (), X86_64, vector_bits, registers)


X86_LEVELS = (_level(4, V4, 512, 32), _level(3, V3, 256, 16), _level(2, V2, 128, 16))
"""Best first."""


def host_core() -> Core:
    """The row for this machine's CPU: an Arm design, or the highest level of an x86-64.

    Raises UserError where there is none.
    """
    return core_of(CPUINFO.read_text(encoding="utf-8"), host_platform().arch)


def core_of(cpuinfo: str, arch: str) -> Core:
    """The same of a machine of `arch` whose /proc/cpuinfo says so; the first of its CPUs counts."""
    fields = dict(reversed(re.findall(r"^([\w ]+?)\s*:\s*(.*)$", cpuinfo, re.MULTILINE)))
    if arch == X86_64:
        flags = set(fields.get("flags", "").split())
        for core in X86_LEVELS:
            if core.features <= flags:
                return core
        raise UserError("--target host needs SSE4.2 (x86-64-v2), which this machine's CPU lacks.")
    try:
        name = core_name(int(fields["CPU implementer"], 16), int(fields["CPU part"], 16))
        return find_core(name)
    except (KeyError, ValueError, UserError):
        return find_core("generic")
