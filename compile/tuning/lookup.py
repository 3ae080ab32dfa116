"""Every compile looks its kernels up in the tuning logs: of the core, then of the cores it is like."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import platformdirs
from tvm.s_tir import Schedule
from tvm.tirx import PrimFunc

import tuning_logs
from compile.tuning.records import Log, Record, best_first, by_kernel
from compile.tuning.task import Task, plain_module
from compile.tuning.units import APPLIED
from schedules.apply import Scheduled, schedule_kernel
from schedules.kernel import workload_of
from schedules.space import Given, InadmissibleError
from targets.cores import Core, lineage

TUNED, SEEDED = "tuned", "seeded"
"""Where a schedule came from, beside `default`: a record of the core, or of one that it is like."""
VARIABLE = "ARMATURE_TUNING_LOGS"


def user_logs() -> Path:
    """The user's own tuning logs; the environment's ARMATURE_TUNING_LOGS overrides the place."""
    default = Path(platformdirs.user_data_dir("armature", appauthor=False)) / "tuning_logs"
    return Path(os.environ.get(VARIABLE) or default).absolute()


def shipped_logs() -> Path:
    """The logs that come with Armature."""
    return Path(tuning_logs.__file__).parent


def log_folders(chosen: Path | None) -> tuple[Path, ...]:
    """Where a compile looks: the folder that was chosen, or the user's own and then the shipped one."""
    return (chosen,) if chosen is not None else (user_logs(), shipped_logs())


class TunedScheduler:
    """Schedules kernels by what the logs in `folders` (each with a folder per core) have for them."""

    def __init__(self, core: Core, folders: Sequence[Path]) -> None:
        self.core = core
        self.unfit: list[str] = []
        """Records that exist for a kernel but do not apply, and why."""
        own, *like = lineage(core)
        self._records = {
            TUNED: _best(_logs([own], folders)),
            SEEDED: _best(_logs(like, folders)),
        }

    def __call__(self, function: PrimFunc, core: Core) -> Scheduled:
        """The kernel by its best record that applies, or by default."""
        workload = workload_of(Schedule(function))
        if workload is not None and any(self._records.values()):
            task = Task(plain_module(function), workload, ())
            for origin, records in self._records.items():
                for record in records.get(task.key, ()):
                    found = self._scheduled(function, record)
                    if found is not None:
                        return Scheduled(found.function, found.workload, origin)
        return schedule_kernel(function, core)

    def _scheduled(self, function: PrimFunc, record: Record) -> Scheduled | None:
        try:
            return schedule_kernel(function, self.core, Given(record.draws))
        except InadmissibleError as error:
            self.unfit.append(f"{record}: {error}")
            return None


def _logs(cores: Iterable[Core], folders: Sequence[Path]) -> list[Log]:
    return [Log(folder / core.name, core) for core in cores for folder in folders]


def _best(logs: Sequence[Log]) -> dict[str, list[Record]]:
    """Of each kernel the records of the first log that has any, best first."""
    found: dict[str, list[Record]] = {}
    for log in logs:
        own = by_kernel(record for record in log.records() if record.basis in APPLIED)
        found = {key: best_first(records) for key, records in own.items()} | found
    return found
