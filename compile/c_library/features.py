"""The bits by which Linux, or an x86-64 itself, tells a program what its CPU can do."""

from __future__ import annotations

from collections.abc import Collection

# linux/arch/arm64/include/uapi/asm/hwcap.h: the bits of AT_HWCAP and of AT_HWCAP2 for each of
# targets.cores.FEATURES; targets/agent/src/info.c has the same, for the agent. Of FEATURES_32, the bits that
# 32-bit programs are told: linux/arch/arm/include/uapi/asm/hwcap.h.
HWCAPS = {
    "crc": (1 << 7, 0),
    "lse": (1 << 8, 0),
    "rdm": (1 << 12, 0),
    "fp16": (1 << 9 | 1 << 10, 0),
    "dotprod": (1 << 20, 0),
    "i8mm": (0, 1 << 13),
    "bf16": (0, 1 << 14),
    "sve": (1 << 22, 0),
    "sve2": (0, 1 << 1),
    "neon": (1 << 12, 0),
    "vfpv4": (1 << 16, 0),
    "idiva": (1 << 17, 0),
}


def hwcaps(features: Collection[str]) -> tuple[int, int]:
    """The bits of AT_HWCAP and AT_HWCAP2 that a CPU with `features` has set."""
    first = second = 0
    for feature in features:
        first |= HWCAPS[feature][0]
        second |= HWCAPS[feature][1]
    return first, second


EAX, EBX, ECX, EDX = range(4)
EXTENDED = 0x80000001

# Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2, CPUID; AMD64 Architecture
# Programmer's Manual, volume 3, appendix E: the leaf, register and bit of each feature of targets.host.
CPUID = {
    "pni": (1, ECX, 0),
    "ssse3": (1, ECX, 9),
    "fma": (1, ECX, 12),
    "cx16": (1, ECX, 13),
    "sse4_1": (1, ECX, 19),
    "sse4_2": (1, ECX, 20),
    "movbe": (1, ECX, 22),
    "popcnt": (1, ECX, 23),
    "avx": (1, ECX, 28),
    "f16c": (1, ECX, 29),
    "bmi1": (7, EBX, 3),
    "avx2": (7, EBX, 5),
    "bmi2": (7, EBX, 8),
    "avx512f": (7, EBX, 16),
    "avx512dq": (7, EBX, 17),
    "avx512cd": (7, EBX, 28),
    "avx512bw": (7, EBX, 30),
    "avx512vl": (7, EBX, 31),
    "lahf_lm": (EXTENDED, ECX, 0),
    "abm": (EXTENDED, ECX, 5),
}

# Volume 1, section 13.3: what the operating system must save of the registers that a feature uses, as bits of
# XCR0; 1 << 27 of leaf 1's ECX says that XCR0 can be read.
OSXSAVE = (1, ECX, 27)
SAVED = {"avx": 0x6, "avx512f": 0xE6}


def cpuids(features: Collection[str]) -> list[tuple[int, int, int]]:
    """(Leaf, register, bits) that an x86-64 with `features` has set."""
    wanted = [CPUID[feature] for feature in features] + [OSXSAVE] * bool(saved(features))
    bits: dict[tuple[int, int], int] = {}
    for leaf, register, bit in wanted:
        bits[leaf, register] = bits.get((leaf, register), 0) | 1 << bit
    return sorted((leaf, register, mask) for (leaf, register), mask in bits.items())


def saved(features: Collection[str]) -> int:
    """The bits of XCR0 that `features` need."""
    found = 0
    for feature in features:
        found |= SAVED.get(feature, 0)
    return found
