"""Tunes of a small network in processes of their own, and what they leave."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

from compile.tuning.records import RECORDS, Log
from targets.cores import find_core
from tests.tuning.farm import wait_until

CORE = find_core("cortex-a53")
NET = "tests.e2e.test_own_model:small_net?channels=13&picture=1x3x26x22"
ROOT = Path(__file__).parents[2]


def log_of(folder: Path) -> Log:
    return Log(folder / CORE.name, CORE)


def tune(folder: Path, *options: object, **streams: object) -> subprocess.Popen[str]:
    """The command, with its log in `folder`."""
    words = ["tune", NET, "--tuning-log", folder, *options]
    command = [sys.executable, "-m", "compile.cli", *map(str, words)]
    return subprocess.Popen(command, cwd=ROOT, text=True, start_new_session=True, **streams)


def wait_for_records(process: subprocess.Popen[str], folder: Path, count: int) -> None:
    file = folder / CORE.name / RECORDS

    def are_there() -> bool:
        return file.exists() and file.read_text().count("\n") >= count

    wait_until(lambda: are_there() or process.poll() is not None, 240)
    assert process.poll() is None


def assert_ends_when_interrupted(
    process: subprocess.Popen[str], folder: Path, records: int, times: int
) -> None:
    """Press Ctrl-C, once or more, when there are so many records: it says so, and no process of it is left.

    `process` must have a pipe for its standard error.
    """
    try:
        wait_for_records(process, folder, records)
        family = psutil.Process(process.pid).children(recursive=True)
        for _ in range(times):
            process.send_signal(signal.SIGINT)
            time.sleep(0.3)
        _, said = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 130 and "interrupted" in said
    assert psutil.wait_procs(family, timeout=10)[1] == []
