"""What one inference of a bundle executes, kernel by kernel, and the cycles and time estimated for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from targets.emulated.estimate import LINE_BYTES, facts, latency, memory_milliseconds, milliseconds
from targets.emulated.pricing import timing_model
from targets.emulated.profile import Caches
from targets.emulated.spec import Emulated

LANES = 4
"""float32 multiply-adds of one 128-bit FMLA."""


@dataclass(frozen=True)
class Row:
    """Counts per inference: of one kernel, in all its calls, or of all else, or of everything."""

    name: str
    kind: str
    shape: Mapping[str, int] = field(default_factory=dict)
    calls: int = 0
    multiply_adds: int = 0
    instructions: float = 0.0
    l1_misses: float = 0.0
    l2_misses: float = 0.0
    core_cycles: float = 0.0
    """Estimated, every access hitting the first-level cache."""
    memory_cycles: float = 0.0
    """Estimated: what the misses add."""

    @property
    def cycles(self) -> float:
        """Estimated, in all."""
        return self.core_cycles + self.memory_cycles

    @property
    def instructions_per_multiply_add(self) -> float | None:
        """None where nothing is multiplied."""
        return self.instructions / self.multiply_adds if self.multiply_adds else None


@dataclass(frozen=True)
class BenchReport:
    """What was counted on an emulated board and is estimated for `device`."""

    bundle: Path
    device: Emulated
    compiled_for: str
    weights_bytes: int
    peak_activation_bytes: int
    kernels: tuple[Row, ...]
    """In the order in which they are first called."""
    runtime: Row
    """What is executed outside of the kernels."""
    runtime_files: Mapping[str, float]
    """Where: instructions by the name of the program or library, most first."""

    @property
    def timing(self) -> str:
        """The core whose timing model priced the cycles."""
        return timing_model(self.device.core)

    @property
    def caches(self) -> Caches:
        """The caches that were modelled: the core's."""
        return Caches.of(self.device.core)

    @property
    def kernels_total(self) -> Row:
        """All kernels together."""
        return _sum("kernels", self.kernels)

    @property
    def total(self) -> Row:
        """The inference."""
        return _sum("total", (*self.kernels, self.runtime))

    def share(self, row: Row) -> float:
        """The part of the inference's estimated cycles that `row` has."""
        return row.cycles / self.total.cycles

    def instructions_share(self, row: Row) -> float:
        """The part of the inference's instructions that `row` has."""
        return row.instructions / self.total.instructions

    def peak(self, row: Row) -> float | None:
        """The part of the core's multiply-add peak that `row` reaches by its core cycles (estimated)."""
        if not row.multiply_adds or not row.core_cycles:
            return None
        return row.multiply_adds / self.device.core.multiply_adds_per_cycle / row.core_cycles

    def ms(self, row: Row) -> float | None:
        """The time of `row` at the device's clock (estimated); None without a clock."""
        return milliseconds(row.cycles, self.device.ghz)

    @property
    def memory_bytes(self) -> float:
        """What an inference brings from memory: the lines missed in both caches."""
        return self.total.l2_misses * LINE_BYTES

    @property
    def memory_ms(self) -> float | None:
        """The least time that the board's memory needs for the inference's lines; None without a board."""
        board = self.device.board
        return memory_milliseconds(self.total.l2_misses, board.memory_gbs) if board else None

    @property
    def total_ms(self) -> float | None:
        """The time of the inference (estimated), which its memory bounds; None without a clock."""
        return latency(self.device, self.total.cycles, self.total.l2_misses)

    def gflops(self, row: Row) -> float | None:
        """Floating-point operations a nanosecond, two per multiply-add (estimated); None without a clock."""
        ms = self.ms(row)
        return 2 * row.multiply_adds / (ms * 1e6) if ms and row.multiply_adds else None

    def to_json(self) -> dict[str, Any]:
        """The report, JSON-ready."""
        return {
            **facts(self.device),
            "bundle": str(self.bundle),
            "compiled_for": self.compiled_for,
            "basis": "counted on the emulated board; cycles and times are estimated, nothing is measured",
            "estimated_ms": self.total_ms,
            "memory_ms": self.memory_ms,
            "weights_bytes": self.weights_bytes,
            "peak_activation_bytes": self.peak_activation_bytes,
            "kernels": [self._row(row) for row in self.kernels],
            "runtime": self._row(self.runtime),
            "runtime_files": dict(self.runtime_files),
            "total": self._row(self.total),
            "kernels_share": self.instructions_share(self.kernels_total),
        }

    def _row(self, row: Row) -> dict[str, Any]:
        return {
            **asdict(row),
            "cycles": row.cycles,
            "estimated_ms": self.ms(row),
            "gflops": self.gflops(row),
            "fma_peak": self.peak(row),
            "instructions_per_multiply_add": row.instructions_per_multiply_add,
            "share": self.share(row),
            "instructions_share": self.instructions_share(row),
        }


def _sum(name: str, rows: Sequence[Row]) -> Row:
    return Row(
        name,
        kind="",
        calls=sum(row.calls for row in rows),
        multiply_adds=sum(row.multiply_adds for row in rows),
        instructions=sum(row.instructions for row in rows),
        l1_misses=sum(row.l1_misses for row in rows),
        l2_misses=sum(row.l2_misses for row in rows),
        core_cycles=sum(row.core_cycles for row in rows),
        memory_cycles=sum(row.memory_cycles for row in rows),
    )
