"""What a tuner does with a measurer that fails it."""

from __future__ import annotations

from concurrent.futures import Future
from pathlib import Path

import pytest

from compile.tuning.candidate import Draws, Figure
from compile.tuning.records import Log
from compile.tuning.task import Task, tasks_of
from compile.tuning.tuner import Budget, Tuner
from compile.tuning.units import MEASURED
from targets.cores import find_core
from targets.errors import DeviceError
from tests.tuning.test_records import relax_module

CORE = find_core("cortex-a53")


class DyingMeasurer:
    """Measures so many candidates; then its boards are gone."""

    core, capacity, device, basis, seconds_per_trial = CORE, 8, "rpc://pi:9090", MEASURED, 1.0
    boards, waiting = (), ""

    def __init__(self, lasts: int) -> None:
        self.left = lasts

    def submit(self, _task: Task, _draws: Draws) -> Future[Figure]:
        answer: Future[Figure] = Future()
        self.left -= 1
        if self.left < 0:
            answer.set_exception(DeviceError("no board could be used"))
        else:
            answer.set_result(Figure(1e-3))
        return answer

    def __enter__(self) -> DyingMeasurer:
        return self

    def __exit__(self, *_: object) -> None:
        pass


@pytest.mark.parametrize("lasts", [0, 1, 5])
def test_all_that_was_found_is_in_the_log_when_the_boards_are_gone(lasts: int, tmp_path: Path) -> None:
    tasks = [each for each in tasks_of({"net": relax_module()}, CORE) if each.workload.kind == "pointwise"]
    log = Log(tmp_path, CORE)
    tuner = Tuner(tasks, CORE, DyingMeasurer(lasts), log, Budget(), lambda _: None)
    with pytest.raises(DeviceError, match="no board could be used"):
        tuner.run()
    assert len(log.records()) == lasts
