"""What figures are, and what they are shown in."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from schedules.kernel import Workload
    from targets.cores import Core

MEASURED, ESTIMATED, EMULATOR = "measured", "estimated", "emulator time"
"""EMULATOR is the wall time of an emulator that stands in for a board: it says nothing of silicon."""
BASES = (MEASURED, ESTIMATED, EMULATOR)
"""What a figure is, that which says most of real time first."""
APPLIED = (MEASURED, ESTIMATED)
"""Those by which a compile chooses."""
CYCLE = 1e-9
"""Seconds that stand for a cycle where cycles are estimated: as at 1 GHz."""
UNITS = {MEASURED: "ms", ESTIMATED: "M cycles", EMULATOR: "ms of the emulator"}
"""What figures are shown in. PER_SECOND of either are one of the log's seconds."""
PER_SECOND = 1e3


def of_peak(workload: Workload, seconds: float, basis: str, core: Core) -> float | None:
    """The part of the core's multiply-add peak that a kernel reaches; None where time, not cycles, is known,
    or nothing is multiplied.
    """
    if basis != ESTIMATED or not workload.multiply_adds:
        return None
    return workload.multiply_adds / core.multiply_adds_per_cycle / (seconds / CYCLE)
