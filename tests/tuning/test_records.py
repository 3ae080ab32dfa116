"""Tuning logs: what a crash, a full disk and two writers at once leave of them; what no longer fits."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path

import pytest
import torch
from torch import nn
from tvm.relax.frontend.torch import from_exported_program
from tvm.s_tir import Schedule
from tvm.s_tir.schedule import Trace

from compile.lower import lower
from compile.tuning.candidate import Figure
from compile.tuning.lookup import TunedScheduler
from compile.tuning.records import FAILURES, RECORDS, Log, best_first, read_draws
from compile.tuning.search import KernelSearch
from compile.tuning.task import Task, tasks_of
from compile.tuning.units import EMULATOR, ESTIMATED, MEASURED
from compile.tuning.upkeep import merge, prune
from schedules.space import draws_of
from targets.cores import find_core
from targets.errors import UserError

CORE = find_core("cortex-a53")
DEVICE = "emulated:cortex-a53"


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 16, 3), nn.Conv2d(16, 24, 1), nn.ReLU6()).eval()


def relax_module():
    return from_exported_program(torch.export.export(network(), (torch.zeros(1, 3, 12, 10),)))


@pytest.fixture(scope="module")
def task() -> Task:
    return next(each for each in tasks_of({"net": relax_module()}, CORE) if each.workload.kind == "pointwise")


@pytest.fixture(scope="module")
def points(task: Task) -> list[dict[str, int]]:
    """The default and a few other points of the kernel's space."""
    search = KernelSearch(task, CORE, 8)
    default = search.default
    search.tell([(default, Figure(1e-3))])
    return [default, *search.propose()]


def test_what_is_added_is_read_again(task, points, tmp_path):
    log = Log(tmp_path, CORE)
    log.add(task, [(points[0], Figure(2e-3)), (points[1], Figure(1e-3))], DEVICE, ESTIMATED)
    first, second = log.records()
    assert (first.key, first.seconds, first.device, first.basis) == (task.key, 2e-3, DEVICE, ESTIMATED)
    assert first.workload == task.workload
    assert [first.draws, second.draws] == points[:2]
    assert best_first(log.records())[0].draws == points[1]
    assert not first.misfit(CORE)


def test_draws_read_from_json_are_those_of_the_replayed_trace(task, points, tmp_path):
    log = Log(tmp_path, CORE)
    log.add(task, [(point, Figure(1e-3)) for point in points], DEVICE, ESTIMATED)
    for record in log.records():
        sch = Schedule(task.function)
        Trace.apply_json_to_schedule(record.trace, sch)
        assert draws_of(sch) == record.draws


def test_failure_is_never_among_the_records(task, points, tmp_path):
    log = Log(tmp_path, CORE)
    log.add(task, [(points[0], Figure(None, "wrong numbers"))], DEVICE, ESTIMATED)
    assert log.records() == []
    assert list(log.failures(DEVICE)[task.key].values()) == ["wrong numbers"]
    assert (tmp_path / FAILURES).is_file() and not (tmp_path / RECORDS).exists()


def test_measured_time_is_better_than_any_estimate(task, points, tmp_path):
    log = Log(tmp_path, CORE)
    log.add(task, [(points[0], Figure(1e-6))], DEVICE, ESTIMATED)
    log.add(task, [(points[1], Figure(1e-3))], "rpc://board:9090", MEASURED)
    assert best_first(log.records())[0].draws == points[1]


def test_line_that_a_crash_cut_short_is_dropped_and_overwritten(task, points, tmp_path):
    log = Log(tmp_path, CORE)
    log.add(task, [(points[0], Figure(1e-3))], DEVICE, ESTIMATED)
    whole = (tmp_path / RECORDS).read_bytes()
    (tmp_path / RECORDS).write_bytes(whole + whole[: len(whole) // 2])
    assert len(log.records()) == 1
    log.add(task, [(points[1], Figure(1e-3))], DEVICE, ESTIMATED)
    assert [record.draws for record in log.records()] == points[:2]


def test_line_that_is_no_record_is_named(task, points, tmp_path):
    log = Log(tmp_path, CORE)
    log.add(task, [(points[0], Figure(1e-3))], DEVICE, ESTIMATED)
    with (tmp_path / RECORDS).open("a") as file:
        file.write('["key", {}]\n')
    with pytest.raises(UserError, match=r"records\.json, line 2, is no tuning record"):
        log.records()


def write_many(folder: str, number: int, points: list[dict[str, int]]) -> None:
    (task,) = (each for each in tasks_of({"net": relax_module()}, CORE) if each.workload.kind == "pointwise")
    for at in range(20):
        Log(Path(folder), CORE).add(task, [(points[at % 2], Figure(number + at))], DEVICE, ESTIMATED)


def test_two_writers_at_once_lose_nothing(points, tmp_path):
    context = multiprocessing.get_context("spawn")
    arguments = [(str(tmp_path), number, points) for number in (100, 200)]
    writers = [context.Process(target=write_many, args=each) for each in arguments]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    seconds = sorted(record.seconds for record in Log(tmp_path, CORE).records())
    assert seconds == [*range(100, 120), *range(200, 220)]


def test_full_disk_leaves_whole_records_and_says_so(task, points, small_disk):
    log = Log(small_disk, CORE)
    written = 0
    with pytest.raises(UserError, match=r"cannot write .*records\.json: No space left on device"):
        for written in range(100):
            log.add(task, [(points[0], Figure(written))], DEVICE, ESTIMATED)
    assert [record.seconds for record in log.records()] == list(range(written))


def outdated(file: Path) -> None:
    """Make a draw of every record one that no space has."""
    lines = []
    for line in file.read_text().splitlines():
        key, workload, record = json.loads(line)
        for instruction in record[0][0]:
            if instruction[0] == "SampleCategorical":
                instruction[2][0] = [1000 + each for each in instruction[2][0]]
        lines.append(json.dumps([key, workload, record]))
    file.write_text("".join(f"{line}\n" for line in lines))


def test_compile_takes_the_record_and_says_which_do_not_apply(task, points, tmp_path):
    folder = tmp_path / CORE.name
    Log(folder, CORE).add(task, [(points[1], Figure(1e-9))], DEVICE, ESTIMATED)
    scheduler = TunedScheduler(CORE, [tmp_path])
    origins = [kernel.origin for kernel in lower(relax_module(), CORE, scheduler).kernels]
    assert origins.count("tuned") == 1 and not scheduler.unfit
    outdated(folder / RECORDS)
    scheduler = TunedScheduler(CORE, [tmp_path])
    assert {kernel.origin for kernel in lower(relax_module(), CORE, scheduler).kernels} == {"default"}
    (unfit,) = scheduler.unfit
    assert unfit.startswith("pointwise ") and "is 1" in unfit


def test_emulators_time_comes_last_and_no_compile_takes_it(task, points, tmp_path):
    log = Log(tmp_path / CORE.name, CORE)
    log.add(task, [(points[0], Figure(1e-9))], "rpc://board:9090", EMULATOR)
    assert log.records()[0].basis == EMULATOR and log.records()[0].device == "rpc://board:9090"
    kernels = lower(relax_module(), CORE, TunedScheduler(CORE, [tmp_path])).kernels
    assert {kernel.origin for kernel in kernels} == {"default"}
    log.add(task, [(points[1], Figure(1e-3))], DEVICE, ESTIMATED)
    assert best_first(log.records())[0].draws == points[1]


def test_failures_are_those_of_the_device(task, points, tmp_path):
    log = Log(tmp_path, CORE)
    log.add(task, [(points[1], Figure(None, "wrong numbers"))], "rpc://board:9090", MEASURED)
    assert log.failures(DEVICE) == {}
    (spelled,) = log.failures("rpc://board:9090")[task.key]
    assert read_draws(spelled) == points[1]


def test_core_takes_the_records_of_the_core_it_is_like(task, points, tmp_path):
    Log(tmp_path / CORE.name, CORE).add(task, [(points[1], Figure(1e-9))], DEVICE, ESTIMATED)
    like = find_core("cortex-a35")
    assert like.like == CORE.name
    kernels = lower(relax_module(), like, TunedScheduler(like, [tmp_path])).kernels
    assert [kernel.origin for kernel in kernels].count("seeded") == 1


def test_prune_keeps_the_best_that_fit(task, points, tmp_path):
    log = Log(tmp_path, CORE)
    log.add(task, [(point, Figure(10.0 - at)) for at, point in enumerate(points[:4])], DEVICE, ESTIMATED)
    pruned = prune(log, 3)
    assert (pruned.kept, pruned.worse, pruned.unfit) == (3, 1, ())
    assert [record.seconds for record in log.records()] == [7.0, 8.0, 9.0]
    outdated(tmp_path / RECORDS)
    assert len(prune(log, 3).unfit) == 3 and log.records() == []


def test_merge_adds_what_is_new_once(task, points, tmp_path):
    ours, theirs = Log(tmp_path / "ours", CORE), Log(tmp_path / "theirs", CORE)
    ours.add(task, [(points[0], Figure(1.0))], DEVICE, ESTIMATED)
    theirs.add(task, [(points[0], Figure(1.0)), (points[1], Figure(2.0))], DEVICE, ESTIMATED)
    assert merge(theirs, ours) == 1
    assert merge(theirs, ours) == 0
    assert [record.draws for record in ours.records()] == points[:2]
