"""The bits by which Linux tells a program what its CPU can do."""

from __future__ import annotations

from collections.abc import Collection

# linux/arch/arm64/include/uapi/asm/hwcap.h: the bits of AT_HWCAP and of AT_HWCAP2 for each of
# targets.cores.FEATURES; targets/agent/src/info.c has the same, for the agent.
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
}


def hwcaps(features: Collection[str]) -> tuple[int, int]:
    """The bits of AT_HWCAP and AT_HWCAP2 that a CPU with `features` has set."""
    first = second = 0
    for feature in features:
        first |= HWCAPS[feature][0]
        second |= HWCAPS[feature][1]
    return first, second
