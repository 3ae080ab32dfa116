"""From counts to cycles: what blocks that were executed cost a core, estimated."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from targets.cores import Core
from targets.emulated.error import known_error
from targets.emulated.pricing import miss_cycles, price, timing_model
from targets.emulated.profile import Block, Caches
from targets.emulated.spec import Emulated

LINE_BYTES = 64
RARE = 0.5
"""A block executed less often than this per repeat belongs to loading, and is not priced."""


@dataclass(frozen=True)
class Estimate:
    """Cycles of one repeat, estimated."""

    core_cycles: float
    """What the instructions take, every access hitting the first-level cache."""
    memory_cycles: float
    """What the misses add to that."""

    @property
    def cycles(self) -> float:
        """In all."""
        return self.core_cycles + self.memory_cycles


def estimate(blocks: Iterable[Block], core: Core, model: int = 0) -> Estimate:
    """What `blocks` cost `core`, their misses being those of the profile's cache model number `model`.

    Raises UserError when LLVM's tools, which price code, are missing.
    """
    return estimates([tuple(blocks)], core, model)[0]


def estimates(groups: Sequence[Sequence[Block]], core: Core, model: int = 0) -> list[Estimate]:
    """The same for each group of blocks: all code is priced at once, which takes much less time."""
    codes = sorted({block.code for blocks in groups for block in blocks if block.executions > RARE})
    prices = dict(zip(codes, price(codes, core), strict=True))

    def estimated(blocks: Sequence[Block]) -> Estimate:
        issue = sum(block.executions * prices.get(block.code, 0.0) for block in blocks)
        first = sum(block.l1_misses[model] for block in blocks)
        second = sum(block.l2_misses[model] for block in blocks)
        return Estimate(issue, miss_cycles(core, first, second))

    return [estimated(blocks) for blocks in groups]


def facts(device: Emulated) -> dict[str, Any]:
    """What every estimate for `device` rests on, JSON-ready."""
    core, board = device.core, device.board
    known = known_error(core, board)
    return {
        "device": device.name,
        "core": core.name,
        "board": board.name if board else None,
        "ghz": device.ghz,
        "caches": asdict(Caches.of(core)),
        "cycles_basis": f"estimated by the timing model of {timing_model(core)}",
        "cycles_error": known.error if known else None,
        "cycles_error_of": known.of if known else None,
    }


def latency(device: Emulated, cycles: float, l2_misses: float) -> float | None:
    """Milliseconds at the device's clock, and no less than its memory needs; None without a clock."""
    ms, board = milliseconds(cycles, device.ghz), device.board
    if ms is None or board is None:
        return ms
    return max(ms, memory_milliseconds(l2_misses, board.memory_gbs))


def memory_milliseconds(l2_misses: float, memory_gbs: float) -> float:
    """The least time that memory needs to bring the lines missed in both caches, at so many GB/s."""
    return l2_misses * LINE_BYTES / (memory_gbs * 1e6)


def milliseconds(cycles: float, ghz: float | None) -> float | None:
    """The time of so many cycles at a clock; None without a clock."""
    return None if ghz is None else cycles / (ghz * 1e6)
