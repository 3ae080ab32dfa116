"""Keeping tuning logs: the best of each kernel, what does not fit any more, and other machines' records."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from compile.tuning.records import RECORDS, Log, Record, best_first, by_kernel
from compile.tuning.units import PER_SECOND, UNITS, of_peak
from targets.cores import find_core
from targets.errors import UserError


@dataclass(frozen=True)
class Pruned:
    """What became of a log's records."""

    kept: int
    worse: int
    """Dropped because the kernel has better ones."""
    unfit: tuple[str, ...]
    """Dropped because this version's spaces do not have them: each with the reason."""


def logs_in(folder: Path) -> list[Log]:
    """The logs in a folder of logs, by core. UserError where it has none, or one of an unknown core."""
    found = sorted(file.parent for file in folder.glob(f"*/{RECORDS}"))
    if not found:
        raise UserError(f"{folder} has no tuning log: none of its folders has a {RECORDS}.")
    return [Log(each, find_core(each.name)) for each in found]


def best_rows(log: Log) -> list[dict[str, Any]]:
    """The best record of every kernel of a log, JSON-ready."""
    return [
        {
            "core": log.core.name,
            "kernel": records[0].key,
            "kind": records[0].workload.kind,
            "name": str(records[0].workload),
            "shape": dict(records[0].workload.shape),
            "best": records[0].seconds * PER_SECOND,
            "unit": UNITS[records[0].basis],
            "of_peak": of_peak(records[0].workload, records[0].seconds, records[0].basis, log.core),
            "basis": records[0].basis,
            "device": records[0].device,
            "records": len(records),
            "age_days": (date.today() - records[0].day).days,
        }
        for records in map(best_first, by_kernel(log.records()).values())
    ]


def prune(log: Log, keep: int) -> Pruned:
    """Leave the best `keep` records of each kernel and basis that fit this version's spaces."""
    kept: list[Record] = []
    unfit: list[str] = []
    worse = 0
    for records in by_kernel(log.records()).values():
        for basis in UNITS:
            left = keep
            for record in best_first(each for each in records if each.basis == basis):
                why = record.misfit(log.core)
                if why:
                    unfit.append(f"{record}: {why}")
                elif left == 0:
                    worse += 1
                else:
                    left -= 1
                    kept.append(record)
    log.replace(kept)
    return Pruned(len(kept), worse, tuple(unfit))


def merge(source: Log, target: Log) -> int:
    """Add the records of `source` that `target` does not have; returns how many these are."""
    known = {_identity(record) for record in target.records()}
    new = {_identity(record): record for record in source.records() if _identity(record) not in known}
    target.extend(list(new.values()))
    return len(new)


def _identity(record: Record) -> tuple[object, ...]:
    return record.key, record.basis, record.device, tuple(sorted(record.draws.items()))
