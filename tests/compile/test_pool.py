"""The C library's threads on their own: every share done once, no race, no thread asleep for ever."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import compile.c_library
from targets.emulated.board import find_qemu, find_sysroot
from targets.toolchain import compile_object, compile_program

SOURCE = Path(__file__).with_name("pool.c")
# Waits so short that threads often go to sleep just when there is work again.
FLAGS = ("-O2", "-DTHREADS=4", "-DPOOL_SPINS=200", f"-I{Path(compile.c_library.__file__).parent}")


def finishes(*command: str | Path) -> None:
    """Run the jobs; a pool that hangs is a test that fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr


def test_no_race(tmp_path: Path) -> None:
    flags = ("-fsanitize=thread", "-Wall", "-Wextra", "-Werror", *FLAGS)
    subprocess.run(["gcc", *flags, SOURCE, "-o", tmp_path / "pool", "-lpthread"], check=True)
    finishes(tmp_path / "pool", "500")


@pytest.mark.emulator
def test_no_thread_sleeps_for_ever(tmp_path: Path) -> None:
    compile_object(SOURCE, tmp_path / "pool.o", FLAGS)
    compile_program([tmp_path / "pool.o"], tmp_path / "pool", ["-lpthread"], "cc")
    finishes(find_qemu(), "-L", find_sysroot(), tmp_path / "pool", "5000")
