"""What figures are, and what they are shown in."""

from __future__ import annotations

MEASURED, ESTIMATED = "measured", "estimated"
BASES = (MEASURED, ESTIMATED)
"""What a figure is, that which says most of real time first."""
CYCLE = 1e-9
"""Seconds that stand for a cycle where cycles are estimated: as at 1 GHz."""
UNITS = {MEASURED: "ms", ESTIMATED: "M cycles"}
"""What figures are shown in. PER_SECOND of either are one of the log's seconds."""
PER_SECOND = 1e3
