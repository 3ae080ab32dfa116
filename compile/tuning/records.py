"""Tuning logs: what was found for each kernel of a core, a line per record, in a file that only grows.

A line is `["KEY", WORKLOAD, RECORD]`: the kernel's structural hash, its workload, and MetaSchedule's JSON of
a tuning record, [trace, run_secs, target, arguments]. MetaSchedule's own database keeps each kernel's whole
module beside, of 50 to 150 KB; here the kernel to be compiled is always at hand, and the workload says enough
to tell whether a record still fits.
The target's tag says where the figure is from. Failures are in a file of their own, never among the records.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from filelock import FileLock
from tvm.s_tir import Schedule
from tvm.s_tir.meta_schedule.arg_info import ArgInfo
from tvm.s_tir.meta_schedule.database import TuningRecord
from tvm.s_tir.meta_schedule.database import Workload as TunedModule
from tvm.target import Target

from compile.tuning.candidate import Draws, Figure
from compile.tuning.task import Task
from compile.tuning.units import BASES, CYCLE
from schedules.apply import kinds
from schedules.kernel import Workload
from schedules.search import recorded
from schedules.space import Given, InadmissibleError, draws_in
from targets.cores import Core
from targets.errors import UserError

RECORDS = "records.json"
FAILURES = "failures.json"


@dataclass(frozen=True)
class Record:
    """A line of a log."""

    key: str
    """The kernel's structural hash."""
    workload: Workload
    trace: Any
    """MetaSchedule's JSON of the trace."""
    seconds: float
    """Where cycles are estimated, a nanosecond stands for one."""
    basis: str
    """Of BASES."""
    device: str
    day: date
    line: str

    @property
    def cycles(self) -> float:
        """The estimated cycles of a record whose basis is that."""
        return self.seconds / CYCLE

    @property
    def draws(self) -> dict[str, int]:
        """The point of the kernel's space."""
        return draws_in(self.trace)

    def misfit(self, core: Core) -> str:
        """Why this version's space for `core` does not have the point; empty when it does."""
        kind = kinds().get(self.workload.kind)
        if kind is None:
            return f"there is no kind {self.workload.kind}"
        try:
            kind.decide(self.workload, core, Given(self.draws))
        except InadmissibleError as error:
            return str(error)
        return ""

    def __str__(self) -> str:
        return f"{self.workload.kind} {self.workload}, {self.basis} on {self.device}, {self.day}"


class Log:
    """The log of one core, in a folder: `records.json` and `failures.json`."""

    def __init__(self, folder: Path, core: Core) -> None:
        self.folder, self.core = folder, core

    def records(self) -> list[Record]:
        """All records, in order. What a crash cut short at the end is left out.

        Raises UserError naming a line that is no record.
        """
        return list(_read(self.folder / RECORDS))

    def failures(self, device: str) -> dict[str, dict[str, str]]:
        """By kernel: the reason why a point failed on `device`, by the point (`spell_draws`)."""
        found: dict[str, dict[str, str]] = {}
        for line in _lines(self.folder / FAILURES):
            key, draws, reason, *place = json.loads(line)
            if place == [device]:
                found.setdefault(key, {})[draws] = reason
        return found

    def add(self, task: Task, results: Iterable[tuple[Draws, Figure]], device: str, basis: str) -> None:
        """Write down what was found, all or nothing. Raises UserError when the disk does not take it."""
        results = list(results)
        good = [
            _record_line(task, self.core, draws, figure.seconds, f"{basis} on {device}, {date.today()}")
            for draws, figure in results
            if figure.seconds is not None
        ]
        failed = [
            json.dumps([task.key, spell_draws(draws), figure.failure, device])
            for draws, figure in results
            if figure.seconds is None
        ]
        self.folder.mkdir(parents=True, exist_ok=True)
        for name, lines in ((RECORDS, good), (FAILURES, failed)):
            if lines:
                _append(self.folder / name, lines)

    def extend(self, records: Sequence[Record]) -> None:
        """Add records of another log."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if records:
            _append(self.folder / RECORDS, [record.line for record in records])

    def replace(self, records: Sequence[Record]) -> None:
        """Make `records` all that the log has."""
        with _locked(self.folder / RECORDS):
            scratch = self.folder / f"{RECORDS}.new"
            scratch.write_text("".join(f"{record.line}\n" for record in records), encoding="utf-8")
            scratch.replace(self.folder / RECORDS)


def best_first(records: Iterable[Record]) -> list[Record]:
    """Measured ones before estimated ones, an emulator's time last, then the shortest."""
    return sorted(records, key=lambda record: (BASES.index(record.basis), record.seconds))


def by_kernel(records: Iterable[Record]) -> dict[str, list[Record]]:
    """The records of each kernel, in order."""
    found: dict[str, list[Record]] = {}
    for record in records:
        found.setdefault(record.key, []).append(record)
    return found


def spell_draws(draws: Draws) -> str:
    """A point as text."""
    return " ".join(f"{name}={value}" for name, value in sorted(draws.items()))


def read_draws(text: str) -> dict[str, int]:
    """The point that `spell_draws` spelled."""
    pairs = (word.partition("=")[::2] for word in text.split())
    return {name: int(value) for name, value in pairs}


def _record_line(task: Task, core: Core, draws: Draws, seconds: float, tag: str) -> str:
    sch = recorded(Schedule(task.function), core, Given(draws))
    target = Target({**core.target().export(), "tag": tag})
    record = TuningRecord(
        sch.trace, TunedModule(task.module), [seconds], target, ArgInfo.from_prim_func(task.function)
    )
    return json.dumps([task.key, task.workload.to_json(), _plain(record.as_json())], separators=(",", ":"))


def _plain(value: Any) -> Any:
    """JSON of TVM's own types as Python's."""
    if isinstance(value, str):
        return str(value)
    if hasattr(value, "items"):
        return {str(name): _plain(each) for name, each in value.items()}
    if hasattr(value, "__iter__"):
        return [_plain(each) for each in value]
    return getattr(value, "value", value)


def _read(file: Path) -> Iterator[Record]:
    for number, line in enumerate(_lines(file), 1):
        try:
            key, workload, (trace, (seconds, *_), target, _) = json.loads(line)
            place, _, day = target["tag"].rpartition(", ")
            basis, _, device = place.partition(" on ")
            found = Workload.from_json(workload)
            yield Record(key, found, trace, seconds, basis, device, date.fromisoformat(day), line)
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{file}, line {number}, is no tuning record: {error}") from None


def _lines(file: Path) -> list[str]:
    """The whole lines of a file, none if it is not there."""
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {file}: {error}") from None
    return text[: text.rfind("\n") + 1].splitlines()


def _append(file: Path, lines: Sequence[str]) -> None:
    """Add lines at the end, or leave the file as it was."""
    data = "".join(f"{line}\n" for line in lines).encode()
    try:
        with _locked(file), file.open("ab+") as output:
            end = _whole_end(output)
            try:
                output.truncate(end)
                output.write(data)
                output.flush()
                os.fsync(output.fileno())
            except OSError:
                output.truncate(end)
                raise
    except OSError as error:
        raise UserError(f"cannot write {file}: {error.strerror or error}") from None


def _whole_end(output: Any) -> int:
    """Where the last whole line ends: what a crash left after it is to be overwritten."""
    size = int(output.seek(0, os.SEEK_END))
    if size == 0:
        return 0
    output.seek(0)
    return int(output.read().rfind(b"\n")) + 1


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    with FileLock(file.with_suffix(".lock")):
        yield
