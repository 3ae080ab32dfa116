"""What a C library is linked for, as data: one row per operating system and architecture."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from targets.cores import AARCH64, ARMV7, X86_64, Core
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
    linking: tuple[str, ...] = ()
    """For the linker of a shared library."""
    needed: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    """Where Zig has no C library to link against: the functions that may be called, by the library that has
    them on the device. Stand-ins with these names are made for the linker.
    """
    divides: bool = False
    """Whether such a library must bring LLVM's functions for what instructions do not do: division, before
    VFPv4. Zig links them where it has a C library.
    """

    def __str__(self) -> str:
        return self.name

    def target(self, core: Core) -> Target:
        """The TVM target that compiles kernels for `core` on this platform."""
        from tvm.target import Target  # here, because it takes seconds and the table does not need it

        return Target(core.llvm_target(self.llvm))


# What a C library and its kernels call, all of it in Android since API 21 (bionic/libc/libc.map.txt and
# bionic/libm/libm.map.txt: nothing of these is marked with a later `introduced`).
BIONIC = {
    "libc.so": (
        *("memcpy", "memset", "memmove", "free", "posix_memalign", "getauxval"),
        *("strcmp", "strncmp", "strchr"),
        *("open", "read", "close", "snprintf", "strtol", "sched_setaffinity", "getpid", "sigfillset"),
        *("pthread_create", "pthread_join", "pthread_sigmask"),
        *("pthread_mutex_init", "pthread_mutex_lock", "pthread_mutex_unlock", "pthread_mutex_destroy"),
        *("pthread_cond_init", "pthread_cond_wait", "pthread_cond_signal"),
        *("pthread_cond_broadcast", "pthread_cond_destroy"),
    ),
    "libm.so": tuple(
        f"{function}{suffix}"
        for function in (
            *("exp", "exp2", "log", "log2", "log10", "log1p", "expm1", "pow", "fmod", "hypot", "ldexp"),
            *("sin", "cos", "tan", "asin", "acos", "atan", "atan2", "sinh", "cosh", "tanh"),
            *("asinh", "acosh", "atanh", "erf", "erfc", "nextafter", "copysign", "round", "nearbyint"),
        )
        for suffix in ("", "f")
    ),
}

# Outlined atomics pull in a helper for each. Android is compiled with musl's headers, as Zig brings none of
# its own: of what pool.h and cpus.h take from them, mutex, condition, thread and cpu_set_t have bionic's
# size (with 32 bits all but threads are larger), sigset_t is larger than bionic's, and constants are the
# kernel's. x18 is Android's own; devices with pages of 16 KB want segments of as much.
ALONE = ("-mno-outline-atomics",)
FIXED = (*ALONE, "-ffixed-x18")
PAGES = ("-nostdlib", "-Wl,-z,max-page-size=16384", "-Wl,--hash-style=both")
LINUX, MUSL, X86 = f"aarch64-linux-gnu.{GLIBC}", "aarch64-linux-musl", f"x86_64-linux-gnu.{GLIBC}"
ANDROID = "aarch64-unknown-linux-android24"

# With 32 bits floats are passed in registers, but on Android (its armeabi-v7a). A CPU may lack NEON, and with
# it half of the registers. Tables for exceptions would want libgcc's functions, and nothing throws any. glibc
# does not list every folder unless files' numbers have 64 bits.
ARM32 = (
    *("-mcpu=baseline-neon-d32", "-fno-unwind-tables", "-fno-asynchronous-unwind-tables"),
    "-D_FILE_OFFSET_BITS=64",
)
LINUX32, MUSL32 = f"arm-linux-gnueabihf.{GLIBC}", "arm-linux-musleabihf"
SOFT32, ANDROID32 = "arm-linux-musleabi", "armv7a-unknown-linux-androideabi24"
# fmt: off
PLATFORMS: tuple[Platform, ...] = (
    #        name               arch     zig    llvm                 check    flags
    Platform("linux-aarch64",   AARCH64, LINUX, "aarch64-linux-gnu", "hwcap", ALONE),
    Platform("musl-aarch64",    AARCH64, MUSL,  MUSL,                "hwcap", ALONE),
    Platform("android-aarch64", AARCH64, MUSL,  ANDROID,             "hwcap", FIXED, PAGES, BIONIC),
    Platform("linux-armv7a",    ARMV7,   LINUX32, "armv7a-linux-gnueabihf",  "hwcap", ARM32),
    Platform("musl-armv7a",     ARMV7,   MUSL32,  "armv7a-linux-musleabihf", "hwcap", ARM32),
    Platform("android-armv7a",  ARMV7,   SOFT32,  ANDROID32,         "hwcap", ARM32, PAGES, BIONIC, True),
    Platform("linux-x86_64",    X86_64,  X86,   "x86_64-linux-gnu",  "cpuid"),
)
# fmt: on

LINUX_ARM = PLATFORMS[0]
ARM_SYSTEMS = ("linux", "musl", "android")
"""The operating systems of the cores in targets.cores, as `--platform` calls them."""


def arm_platform(system: str, arch: str) -> Platform:
    """The row of one of ARM_SYSTEMS for the cores of an architecture."""
    return next(row for row in PLATFORMS if row.name == f"{system}-{arch}")


def host_platform() -> Platform:
    """This machine's row. Raises UserError where it has none."""
    system, machine = platform.system().lower(), platform.machine().lower()
    for row in PLATFORMS:
        if row.name == f"{system}-{machine}":
            return row
    names = ", ".join(row.name for row in PLATFORMS)
    raise UserError(f"--target host does not know this machine ({system}-{machine}): it compiles on {names}.")
