"""`armature board profile`: any aarch64 program, priced by the model."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import Result

from targets.agent.sources import LINK_FLAGS
from targets.toolchain import compile_object, compile_program
from tests.e2e.conftest import Armature, document, wait_for

pytestmark = pytest.mark.emulator

PROGRAM = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
__attribute__((noinline)) void work(int rounds) {
  for (volatile int i = 0; i < rounds * 1000; i++) {
  }
}
int main(int count, char** arguments) {
  if (strcmp(arguments[1], "crash") == 0) abort();
  if (strcmp(arguments[1], "fail") == 0) {
    fprintf(stderr, "no such luck\n");
    return 3;
  }
  if (strcmp(arguments[1], "hang") == 0) {
    for (;;) {
    }
  }
  if (strcmp(arguments[1], "variable") == 0) return getenv("WANTED") == NULL;
  work(atoi(arguments[1]));
  return 0;
}
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("program")
    (folder / "work.c").write_text(PROGRAM)
    compile_object(folder / "work.c", folder / "work.o", ["-O2"])
    compile_program([folder / "work.o"], folder / "work", LINK_FLAGS)
    return folder / "work"


def profiled(armature: Armature, program: Path, *arguments: str) -> Result:
    *options, mode = arguments
    return armature("board", "profile", "--device", "emulated:rpi4", "--json", *options, "--", program, mode)


def processes(program: Path) -> str:
    """Command lines of processes that run the program."""
    return subprocess.run(
        ["pgrep", "-af", f"qemu-aarch64.*{program}"], capture_output=True, text=True, check=False
    ).stdout


def test_a_repeat_is_what_two_runs_differ_by(armature: Armature, program: Path) -> None:
    found = document(profiled(armature, program, "{repeat}"))
    assert found["repeats"] == [1, 2]
    assert 4_000 < found["total"]["instructions"] < 10_000  # a round is 1000 turns of a loop through memory
    (hottest, *_) = found["hot"]
    assert (hottest["name"], hottest["file"]) == ("work", str(program))
    assert found["estimated_ms"] == pytest.approx(found["total"]["cycles"] / 1.8e6)
    assert sum(part["cycles"] for part in found["files"]) == pytest.approx(found["total"]["cycles"])


def test_more_repeats_give_the_same(armature: Armature, program: Path) -> None:
    two = document(profiled(armature, program, "{repeat}"))
    # Numbers of one digit: the program is so tiny that reading another would count.
    many = document(profiled(armature, program, "--few", "2", "--many", "9", "{repeat}"))
    assert many["total"]["instructions"] == pytest.approx(two["total"]["instructions"], rel=1e-3)


def test_without_repeats_the_whole_run_counts(armature: Armature, program: Path) -> None:
    result = armature("board", "profile", "--device", "emulated:rpi4", "--", program, "1")
    assert result.exit_code == 0, result.stderr
    assert "the whole run, loading included" in result.stdout
    assert "estimated" in result.stdout
    assert "work" in result.stdout


def test_variables_reach_the_program(armature: Armature, program: Path) -> None:
    assert profiled(armature, program, "--env", "WANTED=1", "variable").exit_code == 0
    assert profiled(armature, program, "variable").exit_code == 1


@pytest.mark.parametrize(
    ("mode", "said"),
    [("crash", "signal 6"), ("fail", "exit code 3): no such luck"), ("hang", "did not end")],
)
def test_a_program_that_goes_wrong(armature: Armature, program: Path, mode: str, said: str) -> None:
    result = armature("board", "profile", "--timeout", "3", "--", program, mode)
    assert result.exit_code == 1
    assert said in result.stderr
    assert processes(program) == ""


@pytest.mark.parametrize("many", ["0", "1"])
def test_repeats_that_cannot_be_subtracted(armature: Armature, program: Path, many: str) -> None:
    result = profiled(armature, program, "--few", "1", "--many", many, "{repeat}")
    assert result.exit_code == 2
    assert "--many" in result.stderr


def test_ctrl_c_leaves_no_process(program: Path) -> None:
    command = [sys.executable, "-m", "compile.cli", "board", "profile", "--", str(program), "hang"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as running:
        wait_for(lambda: "qemu-aarch64" in processes(program))
        running.send_signal(signal.SIGINT)
        said = running.communicate(timeout=30)[1]
    assert running.returncode == 130
    assert "Traceback" not in said
    assert processes(program) == ""


def test_programs_that_are_not_for_the_board(armature: Armature, tmp_path: Path) -> None:
    script = tmp_path / "script.sh"
    script.write_text("#!/bin/sh\n")
    for path in (script, Path(shutil.which("true") or "/bin/true"), tmp_path / "none"):
        result = armature("board", "profile", "--", path)
        assert result.exit_code == 2
        assert str(path) in result.stderr


def test_other_devices(armature: Armature, program: Path) -> None:
    result = armature("board", "profile", "--device", "rpc://localhost:1", "--", program)
    assert result.exit_code == 2
    assert "emulated" in result.stderr
