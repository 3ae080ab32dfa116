"""Tuning logs as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compile.cli.show import Parts, make_table

if TYPE_CHECKING:
    from compile.tuning.upkeep import Pruned


def best(rows: Sequence[Mapping[str, Any]]) -> Parts:
    """A line per kernel."""
    right = ("best", "% of peak", "records", "age, days")
    found = make_table("core", "kernel", "shape", "best", "unit", *right[1:], "basis", right=right)
    for row in rows:
        peak = row["of_peak"]
        found.add_row(
            row["core"],
            row["kind"],
            row["name"],
            f"{row['best']:.3f}",
            row["unit"],
            "" if peak is None else f"{100 * peak:.0f}",
            str(row["records"]),
            str(row["age_days"]),
            f"{row['basis']} on {row['device']}",
        )
    yield found
    yield f"{len(rows)} kernels"


def misfits(found: Mapping[str, Sequence[str]]) -> Parts:
    """The records that do not fit, log by log."""
    for folder, records in found.items():
        yield f"{folder}: {len(records) or 'no'} records that do not fit this version's spaces"
        yield from (f"  {record}" for record in records)


def pruned(found: Mapping[str, Pruned]) -> Parts:
    """What was dropped and why."""
    for folder, each in found.items():
        yield f"{folder}: {each.kept} records kept, {each.worse} worse ones dropped, {len(each.unfit)} unfit"
        yield from (f"  does not fit: {record}" for record in each.unfit)


def merged(found: Mapping[str, int], target: Path) -> Parts:
    """How many records were new."""
    for folder, number in found.items():
        yield f"{folder}: {number} new records into {target}"
