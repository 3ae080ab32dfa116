"""What a C library is linked for, as data: one row per operating system and architecture."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from targets.cores import AARCH64, X86_64, Core
from targets.errors import UserError

if TYPE_CHECKING:
    from tvm.target import Target

GLIBC = "2.28"
"""Debian 10, Ubuntu 18.10, RHEL 8: anything newer runs what is linked against it."""

CpuCheck = Literal["hwcap", "cpuid"]
"""How a library asks what its CPU can do: of the kernel's auxiliary vector, or of the CPU itself."""


@dataclass(frozen=True)
class Platform:
    """An operating system with its C library on one architecture."""

    name: str
    arch: str
    """The architecture of the cores that it is compiled for: `Core.arch`."""
    zig: str
    """What Zig calls it: `-target` of the compiler and of the linker."""
    llvm: str
    """What LLVM calls it: the kernels' `mtriple`."""
    cpu_check: CpuCheck
    flags: tuple[str, ...] = ()
    """For the compiler of the kernels' caller, which runs before the CPU is checked."""

    def __str__(self) -> str:
        return self.name

    def target(self, core: Core) -> Target:
        """The TVM target that compiles kernels for `core` on this platform."""
        from tvm.target import Target  # here, because it takes seconds and the table does not need it

        return Target({"kind": "llvm", "mtriple": self.llvm, "mcpu": core.llvm})


# Outlined atomics pull in a helper for each.
# fmt: off
PLATFORMS: tuple[Platform, ...] = (
    #        name             arch     zig                           llvm                 check    flags
    Platform("linux-aarch64", AARCH64, f"aarch64-linux-gnu.{GLIBC}", "aarch64-linux-gnu", "hwcap", ("-mno-outline-atomics",)),  # noqa: E501
    Platform("linux-x86_64",  X86_64,  f"x86_64-linux-gnu.{GLIBC}",  "x86_64-linux-gnu",  "cpuid"),
)
# fmt: on

LINUX_ARM = PLATFORMS[0]


def host_platform() -> Platform:
    """This machine's row. Raises UserError where it has none."""
    system, machine = platform.system().lower(), platform.machine().lower()
    for row in PLATFORMS:
        if row.name == f"{system}-{machine}":
            return row
    names = ", ".join(row.name for row in PLATFORMS)
    raise UserError(f"--target host does not know this machine ({system}-{machine}): it compiles on {names}.")
