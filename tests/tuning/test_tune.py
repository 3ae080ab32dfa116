"""`armature tune` on the emulated board: finds, keeps, resumes, is interrupted, and compiles profit."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest

from compile.frontend import trace
from compile.tuning.candidate import estimate_candidate
from compile.tuning.records import RECORDS
from compile.tuning.spec import read_spec
from compile.tuning.task import tasks_of
from compile.tuning.units import CYCLE
from tests.e2e.conftest import Armature, armature, document  # noqa: F401
from tests.tuning.tunes import CORE, NET, assert_ends_when_interrupted, log_of, tune

pytestmark = pytest.mark.emulator

ON = ("--device", "emulated:cortex-a53", "--tuning-log")


@pytest.fixture(scope="module")
def tuned(armature: Armature, tmp_path_factory) -> Path:  # noqa: F811
    """The folder of logs that a short tune left."""
    folder = tmp_path_factory.mktemp("tuned")
    result = armature("tune", NET, *ON, folder, "--trials", 24)
    assert result.exit_code == 0, result.stderr
    return folder


def points(folder: Path) -> Counter[tuple[str, str]]:
    return Counter((record.key, str(sorted(record.draws.items()))) for record in log_of(folder).records())


def test_dry_run_lists_kernels_and_measures_nothing(armature, tmp_path):  # noqa: F811
    result = armature("tune", NET, *ON, tmp_path, "--dry-run", "--trials", 100)
    assert result.exit_code == 0
    assert "depthwise" in result.stdout and "at most 100 trials on emulated:cortex-a53" in result.stdout
    assert not (tmp_path / CORE.name / RECORDS).exists()


def test_every_figure_is_kept_once(tuned):
    found = points(tuned)
    assert sum(found.values()) + sum(map(len, log_of(tuned).failures(ON[1]).values())) == 24
    assert set(found.values()) == {1}
    assert not log_of(tuned).failures(ON[1])


def test_what_the_log_has_is_not_measured_again(armature, tuned):  # noqa: F811
    before = points(tuned)
    result = armature("tune", NET, *ON, tuned, "--trials", 24, "--resume")
    assert result.exit_code == 0
    assert points(tuned) == before
    result = armature("tune", NET, *ON, tuned, "--trials", 2, "--json")
    assert result.exit_code == 0
    after = points(tuned)
    assert sum((after - before).values()) == 2 and set(after.values()) == {1}
    end = json.loads(result.stdout.splitlines()[-1])
    assert end["event"] == "end" and end["known_before"] == 24 and end["trials"] == 2
    assert end["best"] <= end["default"] and end["unit"] == "M cycles" and end["basis"] == "estimated"


def test_compile_takes_what_was_tuned_and_is_right(armature, tuned, tmp_path):  # noqa: F811
    model, _, arguments = NET.partition("?")
    channels, picture = arguments.split("&")
    result = armature(
        *("compile", model, "--arg", channels, "--input", picture, "--cpu", "a53", "-o", tmp_path / "net"),
        *("--tuning-log", tuned, "--validate", "emulated", "--json"),
    )
    assert result.exit_code == 0, result.stderr
    manifest = json.loads((tmp_path / "net" / "manifest.json").read_text())
    origins = {kernel["kind"]: kernel["schedule"] for kernel in manifest["kernels"]}
    assert origins["depthwise"] == origins["stem"] == "tuned"


@pytest.mark.slow
def test_kernels_alone_add_up_to_the_network(armature, tmp_path):  # noqa: F811
    """Weights are in no cache when a kernel runs alone: true of a network that is larger than the cache."""
    source = read_spec("mobilenet_v2")
    tasks = tasks_of({"net": trace(source).relax()}, CORE)
    figures = [estimate_candidate(task.text, task.roles, {}, CORE, 60.0) for task in tasks]
    alone = sum(figure.seconds / CYCLE * task.all_calls for figure, task in zip(figures, tasks, strict=True))
    result = armature(
        "compile", "mobilenet_v2", "--weights", "random:0", "--cpu", "a53", "-o", tmp_path / "net"
    )
    assert result.exit_code == 0, result.stderr
    bench = document(armature("bench", tmp_path / "net", "--device", "emulated:cortex-a53", "--json"))
    assert sum(kernel["cycles"] for kernel in bench["kernels"]) == pytest.approx(alone, rel=0.05)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "name one MODEL, or several with --models"),
        (("mobilenet_v2", "--models", "mobilenet_v2"), "name one MODEL, or several with --models"),
        (("mobilenet_v2?width", "--device", "emulated:a53"), "is not MODEL?name=value"),
        (("no_such_net", "--device", "emulated:a53"), "no_such_net"),
    ],
)
def test_what_cannot_be_tuned_is_said(armature, arguments, said):  # noqa: F811
    result = armature("tune", *arguments)
    assert result.exit_code == 2 and said in result.stderr


def test_duration_that_is_none(armature):  # noqa: F811
    result = armature("tune", NET, "--budget", "soon")
    assert result.exit_code == 2 and "no duration such as 90s, 30m or 2h" in result.stderr


@pytest.mark.parametrize("times", [1, 2])
def test_interrupted_tune_keeps_what_it_had_and_leaves_no_process(times, tmp_path):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    process = tune(
        *(tmp_path, "--device", "emulated:cortex-a53", "--trials", 500),
        stderr=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(scratch)},
    )
    assert_ends_when_interrupted(process, tmp_path, 4, times)
    assert list(scratch.glob("armature-*")) == []
    found = points(tmp_path)
    assert len(found) > 3 and set(found.values()) == {1}


def test_shipped_logs_are_shown_where_there_are_none_of_ones_own(armature, tmp_path, monkeypatch):  # noqa: F811
    (tmp_path / CORE.name).mkdir()
    monkeypatch.setenv("ARMATURE_TUNING_LOGS", str(tmp_path))
    result = armature("logs", "show", "--json")
    assert result.exit_code == 0, result.stderr
    assert CORE.name in {row["core"] for row in document(result)}
    result = armature("logs", "show", tmp_path)
    assert result.exit_code == 2 and "has no tuning log" in result.stderr


def test_two_tunes_at_once_write_every_figure_once(tmp_path):
    options = ("--device", "emulated:cortex-a53", "--trials", 8, "--workers", 1, "--json")
    tunes = [tune(tmp_path, *options, stdout=subprocess.PIPE) for _ in range(2)]
    told = [json.loads(each.communicate(timeout=240)[0].splitlines()[-1]) for each in tunes]
    assert [(each.returncode, end["trials"]) for each, end in zip(tunes, told, strict=True)] == [(0, 8)] * 2
    assert len(log_of(tmp_path).records()) == 16


def test_full_disk_ends_the_tune_and_what_was_written_is_whole(small_disk):
    process = tune(
        *(small_disk, "--device", "emulated:cortex-a53", "--trials", 60, "--workers", 1),
        stderr=subprocess.PIPE,
    )
    family = []
    while process.poll() is None:
        family = psutil.Process(process.pid).children(recursive=True) or family
        time.sleep(0.5)
    said = process.communicate()[1]
    assert process.returncode == 2 and "records.json: No space left on device" in said
    assert "Traceback" not in said
    assert psutil.wait_procs(family, timeout=10)[1] == []
    found = points(small_disk)
    assert len(found) > 3 and set(found.values()) == {1}
