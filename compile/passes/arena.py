"""Where tensors lie in one block of memory: two that live at once never overlap.

Greedy by size with the best fitting gap: the biggest tensor is placed first, each next one in the smallest
gap that holds it between those that live with it (Pisarchyk and Lee, Efficient Memory Management for Deep
Neural Net Inference, 2020: "greedy by size for offset calculation").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

ALIGNMENT = 64
"""Bytes: a cache line of every core in `targets/cores.py`, and what TVM assumes of a tensor's data."""

STAGGER = 4096 + ALIGNMENT
"""Bytes left free behind a big tensor: tensors whose distance is a multiple of a cache's way fight for its
sets when a kernel walks both (docs/memory.md has the misses)."""
STAGGERED_FROM = 64 * 1024
"""Bytes from which a tensor counts as big: the free bytes are at most a sixteenth of it."""


@dataclass(frozen=True)
class Lifetime:
    """A tensor's bytes, and the first and the last step that touches them, both counted in."""

    size: int
    first: int
    last: int

    def meets(self, other: Lifetime) -> bool:
        """Whether the two live at some step together."""
        return self.first <= other.last and other.first <= self.last


@dataclass(frozen=True)
class Layout:
    """Each tensor's offset in bytes, a multiple of ALIGNMENT, and the bytes of all."""

    offsets: tuple[int, ...]
    size: int


def lay_out(tensors: Sequence[Lifetime]) -> Layout:
    """Place `tensors`; the offsets are in their order."""
    offsets: dict[int, int] = {}
    for index in sorted(range(len(tensors)), key=lambda i: (-tensors[i].size, tensors[i].first)):
        taken = sorted(
            (offsets[other], offsets[other] + _footprint(tensors[other].size))
            for other in offsets
            if tensors[index].meets(tensors[other])
        )
        offsets[index] = _best_gap(taken, tensors[index].size)
    ends = (offset + tensors[index].size for index, offset in offsets.items())
    return Layout(tuple(offsets[index] for index in range(len(tensors))), _aligned(max(ends, default=0)))


def _best_gap(taken: Sequence[tuple[int, int]], size: int) -> int:
    """The start of the smallest gap between `taken` that holds `size`, past them all if none does.

    `taken` are starts and ends, by start.
    """
    gaps: list[tuple[int, int]] = []
    end = 0
    for start, stop in taken:
        if start - end >= size:
            gaps.append((start - end, end))
        end = max(end, stop)
    return min(gaps)[1] if gaps else end


def _footprint(size: int) -> int:
    return _aligned(size + (STAGGER if size >= STAGGERED_FROM else 0))


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
