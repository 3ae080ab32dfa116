"""The Cortex-A, Cortex-X and Neoverse cores we compile for, as data: one row per core.

A row says what LLVM may use, how wide the core is and how large its caches usually are.
docs/cores.md explains the columns and how to add a core.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from typing import TYPE_CHECKING, Any

from targets.errors import UserError

if TYPE_CHECKING:
    from tvm.target import Target

AARCH64, ARMV7, X86_64 = "aarch64", "armv7a", "x86_64"
"""Architectures, as LLVM calls them."""

FEATURES = ("crc", "lse", "rdm", "fp16", "dotprod", "i8mm", "bf16", "sve", "sve2")
FEATURES_32 = ("neon", "vfpv4", "idiva")
"""Of 32-bit cores, as /proc/cpuinfo spells them; every 64-bit core has as much."""


@dataclasses.dataclass(frozen=True)
class Core:
    """A CPU core design."""

    name: str
    llvm: str  # LLVM's -mcpu
    isa: str
    features: frozenset[str]  # of FEATURES or FEATURES_32; of an x86-64, as /proc/cpuinfo spells them
    in_order: bool  # issue: IN or OUT of order in the table
    fma_per_cycle: float  # 128-bit f32x4 FMLA, or what it has instead
    l1d_kib: int
    l1d_ways: int
    l2_kib: int  # private, or shared by the pair or cluster
    l2_ways: int
    like: str | None  # the core whose tuning logs and timing model serve this one too
    qemu: tuple[str, ...]  # qemu-user's -cpu, preferred first
    arch: str = AARCH64
    vector_bits: int = 128  # of the registers that kernels use
    vector_registers: int = 32  # of so many bits

    def __str__(self) -> str:
        return self.name

    @property
    def multiply_adds_per_cycle(self) -> int:
        """float32 multiply-adds at the peak."""
        return int(self.fma_per_cycle * self.vector_lanes("float32"))

    def vector_lanes(self, dtype: str) -> int:
        """Elements of `dtype` in one register: of 128 bits, 4 for float32, 16 for int8."""
        bits = re.search(r"\d+", dtype)
        if bits is None:
            raise ValueError(f"dtype {dtype!r} does not say its width")
        return self.vector_bits // int(bits.group())

    def target(self) -> Target:
        """The TVM target that compiles for this core."""
        from tvm.target import Target  # here, because it takes seconds and the table does not need it

        return Target(self.llvm_target(_TRIPLES[self.arch]))

    def llvm_target(self, triple: str) -> dict[str, Any]:
        """What TVM's target for this core says, on the platform that LLVM calls `triple`."""
        described = {"kind": "llvm", "mtriple": triple, "mcpu": self.llvm}
        return described | ({"mattr": _ATTRIBUTES[self.arch]} if self.arch in _ATTRIBUTES else {})


_TRIPLES = {
    AARCH64: "aarch64-linux-gnu",
    ARMV7: "armv7a-linux-gnueabihf",
    X86_64: "x86_64-linux-gnu",
}
_ATTRIBUTES = {ARMV7: ["+use-misched"]}
"""LLVM's usual order of instructions for these cores has most of what it loads spilled again."""

# Sets of features, named for the architecture (V8_4: as Neoverse V1 has it), and the two kinds of issue.
NONE: frozenset[str] = frozenset()
V8_0 = NONE | {"crc"}
V8_2 = V8_0 | {"lse", "rdm", "fp16", "dotprod"}
V8_4 = V8_2 | {"i8mm", "bf16", "sve"}
V9 = V8_4 | {"sve2"}
VFP3 = NONE | {"neon"}
VFP4 = VFP3 | {"vfpv4", "idiva"}
IN, OUT = True, False

# QEMU models, named for the first. QEMU 7.2 knows A35, A53, A57, A72, A76, N1 and max; the others came later.
A35 = ("cortex-a35", "cortex-a53")
A53 = ("cortex-a53", "cortex-a35")
A55 = ("cortex-a55", "cortex-a76")
A57 = ("cortex-a57", "cortex-a72")
A72 = ("cortex-a72", "cortex-a57")
A76 = ("cortex-a76", "neoverse-n1")
A78AE = ("cortex-a78ae", "cortex-a76")
A710 = ("cortex-a710", "max")
N1 = ("neoverse-n1", "cortex-a76")
N2 = ("neoverse-n2", "cortex-a710", "max")
V1 = ("neoverse-v1", "max")
A7 = ("cortex-a7", "cortex-a15")
A9 = ("cortex-a9",)
A15 = ("cortex-a15", "cortex-a7")

Q16 = (ARMV7, 128, 16)
"""What 32-bit cores have at the end of their rows: q0 to q15."""

# Why A76 to A78C have neoverse-n1 as -mcpu: LLVM 22 schedules them as A57s (llvm-project pull request 211209
# mends that later), with 64-bit vector pipes. The N1 has a model of its own, with A76's 128-bit pipes, and
# the same instructions for user code. X1 and later have models that fit. X1C is compiled as X1, as QEMU 7.2
# has no model between cortex-a76 and max. A7 is compiled as A17, which has the same instructions: for an A7,
# LLVM multiplies and adds apart, which takes it twice as long.
#
# FMA per cycle: "ASIMD FP multiply accumulate, Q-form" in Arm's Software Optimization Guides, section 3, as
# LLVM's scheduling models of those guides have it: two 64-bit pipes up to A75 (8 flops a cycle measured on
# A72) and in A65, one 128-bit in A320, two from A76 and in A510 and A520 (shared by a pair of cores), four in
# X and V cores, six in X925 (Arm Client Tech Day 2024). With 32 bits, as measured: 2, 4 and 8 flops a
# cycle on A7, A9 and A15, fused or not (VFP Benchmark, wlog.flatlib.jp, 2014/02/14).
#
# Caches: Arm's Technical Reference Manuals, "L1 memory system" and "L2 memory system"; where a size is the
# chip maker's choice, that of the chips named above the rows. Read in the manual: A35 (100236 A7.1), A55
# (100442 A6.1, A7.1), A72 (100095 7.1), A73 (100048 6.1, 7.1), A76 (100798 A6.1); as QEMU's
# target/arm/tcg/cpu64.c quotes it: A76, A78AE, A710, N1, N2, V1. Taken from the nearest relative: L2 ways of
# A65, A320, A510 and A520, both caches of N3 and V3. No manual was at hand for 32 bits; A17's FMA is A15's.
#
# fmt: off
CORES: tuple[Core, ...] = (
    #    name             llvm             isa        features order FMA L1D   L2        like           qemu
    # What every 64-bit Arm core has; sized, and scheduled by LLVM, as a small one.
    Core("generic",       "generic",       "armv8-a",   NONE, IN,  1, 32, 4,  512,  16, "cortex-a53",  A35),

    # i.MX 8X; Raspberry Pi 3; Tegra X1; Raspberry Pi 4 and RK3399; Snapdragon 835.
    Core("cortex-a34",    "cortex-a34",    "armv8-a",   V8_0, IN,  1, 32, 4,  512,  8,  "cortex-a35",  A35),
    Core("cortex-a35",    "cortex-a35",    "armv8-a",   V8_0, IN,  1, 32, 4,  512,  8,  "cortex-a53",  A35),
    Core("cortex-a53",    "cortex-a53",    "armv8-a",   V8_0, IN,  1, 32, 4,  512,  16, None,          A53),
    Core("cortex-a57",    "cortex-a57",    "armv8-a",   V8_0, OUT, 1, 32, 2,  2048, 16, "cortex-a72",  A57),
    Core("cortex-a72",    "cortex-a72",    "armv8-a",   V8_0, OUT, 1, 32, 2,  1024, 16, None,          A72),
    Core("cortex-a73",    "cortex-a73",    "armv8-a",   V8_0, OUT, 1, 64, 16, 2048, 16, "cortex-a72",  A72),

    # Snapdragon 845 (A55, A75), 855 (A76), 865 (A77), 888 (A78, X1); Orin (A78AE).
    Core("cortex-a55",    "cortex-a55",    "armv8.2-a", V8_2, IN,  1, 32, 4,  128,  4,  None,          A55),
    Core("cortex-a65",    "cortex-a65",    "armv8.2-a", V8_2, OUT, 1, 32, 4,  256,  4,  "cortex-a55",  A76),
    Core("cortex-a65ae",  "cortex-a65ae",  "armv8.2-a", V8_2, OUT, 1, 32, 4,  256,  4,  "cortex-a65",  A76),
    Core("cortex-a75",    "cortex-a75",    "armv8.2-a", V8_2, OUT, 1, 64, 16, 256,  8,  "cortex-a73",  A76),
    Core("cortex-a76",    "neoverse-n1",   "armv8.2-a", V8_2, OUT, 2, 64, 4,  512,  8,  None,          A76),
    Core("cortex-a76ae",  "neoverse-n1",   "armv8.2-a", V8_2, OUT, 2, 64, 4,  512,  8,  "cortex-a76",  A76),
    Core("cortex-a77",    "neoverse-n1",   "armv8.2-a", V8_2, OUT, 2, 64, 4,  256,  8,  "cortex-a76",  A76),
    Core("cortex-a78",    "neoverse-n1",   "armv8.2-a", V8_2, OUT, 2, 64, 4,  512,  8,  "cortex-a77",  A76),
    Core("cortex-a78ae",  "neoverse-n1",   "armv8.2-a", V8_2, OUT, 2, 64, 4,  256,  8,  "cortex-a78",  A78AE),
    Core("cortex-a78c",   "neoverse-n1",   "armv8.2-a", V8_2, OUT, 2, 64, 4,  512,  8,  "cortex-a78",  A76),
    Core("cortex-x1",     "cortex-x1",     "armv8.2-a", V8_2, OUT, 4, 64, 4,  1024, 8,  "cortex-a78",  A76),
    Core("cortex-x1c",    "cortex-x1",     "armv8.2-a", V8_2, OUT, 4, 64, 4,  1024, 8,  "cortex-x1",   A76),

    # Snapdragon 8 Gen 1 (A510, A710, X2), Gen 2 (A715, X3), Gen 3 (A520, A720, X4); Dimensity 9400 (X925).
    Core("cortex-a320",   "cortex-a320",   "armv9.2-a", V9,   IN,  1, 32, 4,  256,  8,  "cortex-a510", A710),
    Core("cortex-a510",   "cortex-a510",   "armv9-a",   V9,   IN,  2, 32, 4,  256,  8,  "cortex-a55",  A710),
    Core("cortex-a520",   "cortex-a520",   "armv9.2-a", V9,   IN,  2, 32, 4,  256,  8,  "cortex-a510", A710),
    Core("cortex-a520ae", "cortex-a520ae", "armv9.2-a", V9,   IN,  2, 32, 4,  256,  8,  "cortex-a520", A710),
    Core("cortex-a710",   "cortex-a710",   "armv9-a",   V9,   OUT, 2, 64, 4,  512,  8,  "cortex-a78",  A710),
    Core("cortex-a715",   "cortex-a715",   "armv9-a",   V9,   OUT, 2, 64, 4,  512,  8,  "cortex-a710", A710),
    Core("cortex-a720",   "cortex-a720",   "armv9.2-a", V9,   OUT, 2, 64, 4,  512,  8,  "cortex-a715", A710),
    Core("cortex-a720ae", "cortex-a720ae", "armv9.2-a", V9,   OUT, 2, 64, 4,  512,  8,  "cortex-a720", A710),
    Core("cortex-a725",   "cortex-a725",   "armv9.2-a", V9,   OUT, 2, 64, 4,  512,  8,  "cortex-a720", A710),
    Core("cortex-x2",     "cortex-x2",     "armv9-a",   V9,   OUT, 4, 64, 4,  1024, 8,  "cortex-x1",   A710),
    Core("cortex-x3",     "cortex-x3",     "armv9-a",   V9,   OUT, 4, 64, 4,  1024, 8,  "cortex-x2",   A710),
    Core("cortex-x4",     "cortex-x4",     "armv9.2-a", V9,   OUT, 4, 64, 4,  2048, 8,  "cortex-x3",   A710),
    Core("cortex-x925",   "cortex-x925",   "armv9.2-a", V9,   OUT, 6, 64, 4,  2048, 8,  "cortex-x4",   A710),

    # Graviton 2 (N1), 3 (V1) and 4 (V2); Yitian 710 (N2).
    Core("neoverse-n1",   "neoverse-n1",   "armv8.2-a", V8_2, OUT, 2, 64, 4,  1024, 8,  "cortex-a76",  N1),
    Core("neoverse-n2",   "neoverse-n2",   "armv9-a",   V9,   OUT, 2, 64, 4,  1024, 8,  "cortex-a710", N2),
    Core("neoverse-n3",   "neoverse-n3",   "armv9.2-a", V9,   OUT, 2, 64, 4,  2048, 8,  "neoverse-n2", A710),
    Core("neoverse-v1",   "neoverse-v1",   "armv8.4-a", V8_4, OUT, 4, 64, 4,  1024, 8,  "cortex-x1",   V1),
    Core("neoverse-v2",   "neoverse-v2",   "armv9-a",   V9,   OUT, 4, 64, 4,  2048, 8,  "cortex-x3",   A710),
    Core("neoverse-v3",   "neoverse-v3",   "armv9.2-a", V9,   OUT, 4, 64, 4,  2048, 8,  "neoverse-v2", A710),
    Core("neoverse-v3ae", "neoverse-v3ae", "armv9.2-a", V9,   OUT, 4, 64, 4,  2048, 8,  "neoverse-v3", A710),

    # 32 bits: Raspberry Pi 2 (A7); i.MX 6 (A9); Tegra K1 and Exynos 5422 (A15); RK3288 (A17).
    Core("cortex-a7",    "cortex-a17",    "armv7-a", VFP4, IN, .25, 32, 4, 512,  8,  None,         A7,  *Q16),
    Core("cortex-a9",    "cortex-a9",     "armv7-a", VFP3, OUT, .5, 32, 4, 1024, 16, None,         A9,  *Q16),
    Core("cortex-a15",   "cortex-a15",    "armv7-a", VFP4, OUT, 1,  32, 2, 2048, 16, None,         A15, *Q16),
    Core("cortex-a17",   "cortex-a17",    "armv7-a", VFP4, OUT, 1,  32, 4, 1024, 16, "cortex-a15", A15, *Q16),
)
# fmt: on

_BY_NAME = {core.name: core for core in CORES}
_BY_NAME |= {core.name.split("-", 1)[1]: core for core in CORES if "-" in core.name}


def find_core(name: str) -> Core:
    """The core called `name`: "cortex-a72", or "a72" for short, in any case."""
    core = _BY_NAME.get(name.strip().lower())
    if core is None:
        near = difflib.get_close_matches(name.strip().lower(), _BY_NAME, n=6, cutoff=0.5)
        names = list(dict.fromkeys(_BY_NAME[alias].name for alias in near))[:3]
        hint = f"did you mean {' or '.join(names)}? " if names else ""
        raise UserError(f"unknown core {name!r}: {hint}`armature cores` lists them all")
    return core


def lineage(core: Core) -> tuple[Core, ...]:
    """The core, then the cores that serve it in turn, nearest first."""
    return (core,) if core.like is None else (core, *lineage(_BY_NAME[core.like]))


def core_rows() -> list[dict[str, object]]:
    """The table as JSON-ready rows, in its order."""
    return [
        dataclasses.asdict(core)
        | {
            "features": [name for name in (*FEATURES, *FEATURES_32) if name in core.features],
            "qemu": list(core.qemu),
        }
        for core in CORES
    ]
