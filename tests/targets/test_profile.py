"""Counts of instructions and cache misses, against programs of which they are known."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from targets.agent.sources import LINK_FLAGS
from targets.cores import find_core
from targets.emulated import profile as profiler
from targets.emulated.launch import Launch
from targets.emulated.profile import REPEAT, Caches, Profile, instructions_per_repeat, profile
from targets.errors import DeviceError, UserError
from targets.symbols import Functions
from targets.toolchain import compile_object, compile_program

pytestmark = pytest.mark.emulator

A72 = find_core("cortex-a72")
L1_LINES, L2_LINES = 512, 16384
CACHES = Caches(l1_kib=32, l1_ways=2, l2_kib=1024, l2_ways=16)
WIDE = Caches(l1_kib=32, l1_ways=4, l2_kib=128, l2_ways=4)
SET = 16384
"""Bytes between lines of one set of CACHES' first level: 32 KiB in 2 ways."""


@pytest.fixture(scope="module")
def steps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("steps")
    compile_object(Path(__file__).with_name("steps.c"), folder / "steps.o", ["-O2"])
    compile_program([folder / "steps.o"], folder / "steps", LINK_FLAGS)  # as the agent: Zig's C++ is built
    return folder / "steps"


def walk(steps: Path, mode: str, start: int, stride: int, count: int, *caches: Caches) -> Profile:
    return profile(A72, [str(steps), mode, str(start), str(stride), str(count), REPEAT], caches, 2, 4)


def misses(steps: Path, mode: str, start: int, stride: int, count: int) -> tuple[float, float]:
    return walk(steps, mode, start, stride, count, CACHES).misses()


@pytest.mark.parametrize("mode", ["read", "write"])
@pytest.mark.parametrize(
    ("start", "stride", "count", "l1", "l2"),
    [
        (0, 64, L1_LINES // 2, 0, 0),  # fits in the first level
        (0, 64, 2 * L1_LINES, 2 * L1_LINES, 0),  # fits in the second: in a round, the oldest is next
        (0, 64, 2 * L2_LINES, 2 * L2_LINES, 2 * L2_LINES),  # fits in neither
        (0, 16, 8 * L1_LINES, 2 * L1_LINES, 0),  # four accesses to a line
        (48, 128, L1_LINES, L1_LINES, 0),  # 16 bytes at a line's end
        (56, 128, L1_LINES, 2 * L1_LINES, 0),  # across its end: two lines
        (0, SET, 2, 0, 0),  # as many lines of one set as there are ways
        (0, SET, 3, 3, 0),  # one more
    ],
)
def test_misses_of_known_walks(
    steps: Path, mode: str, start: int, stride: int, count: int, l1: int, l2: int
) -> None:
    found = misses(steps, mode, start, stride, count)
    # The loop that repeats touches its stack and mode's text: a few lines more.
    assert found == pytest.approx((l1, l2), rel=0.01, abs=4 if count > 3 else 1)


def test_models_are_independent(steps: Path) -> None:
    lines = 8 * L1_LINES  # 256 KiB: more than the second level of WIDE
    found = walk(steps, "read", 0, 64, lines, CACHES, WIDE)
    assert found.caches == (CACHES, WIDE)
    assert found.misses(0) == walk(steps, "read", 0, 64, lines, CACHES).misses()
    assert found.misses(1) == pytest.approx((lines, lines), abs=4)
    assert walk(steps, "read", 0, SET, 3, WIDE).misses()[0] == 0


def test_instructions_of_a_known_loop(steps: Path) -> None:
    short, long = (walk(steps, "count", 0, 0, count) for count in (10000, 60000))
    assert long.instructions - short.instructions == 2 * 50000
    (loop,) = (block for block in long.blocks if block.executions > 5000)
    assert loop.file == steps.resolve()
    assert len(loop.code) == 8
    assert loop.file.read_bytes()[loop.offset :].startswith(loop.code)
    function = Functions(steps).at(loop.offset)
    assert function is not None
    assert function.name in ("main", "count_down")


def test_sum_over_blocks_is_the_fast_count(steps: Path) -> None:
    command = [str(steps), "read", "0", "64", "1000", REPEAT]
    first, second = (profile(A72, command, [CACHES]) for _ in range(2))
    fast = instructions_per_repeat(A72, command)
    assert sum(block.instructions for block in first.blocks) == fast
    assert second.instructions == pytest.approx(first.instructions, rel=1e-3)
    assert second.misses() == pytest.approx(first.misses(), rel=1e-2, abs=4)


@pytest.mark.parametrize(
    ("mode", "seconds", "complaint"),
    [("crash", 60, "signal 11"), ("hang", 1, "did not end .* within 1 s")],
)
def test_program_that_fails(steps: Path, mode: str, seconds: float, complaint: str) -> None:
    command = [str(steps), mode, "0", "0", "0", REPEAT]
    with pytest.raises(DeviceError, match=complaint):
        profile(A72, command, launch=Launch(seconds=seconds))


def test_program_that_reports_failure(steps: Path) -> None:
    with pytest.raises(DeviceError, match="exit code 3"):
        profile(A72, [str(steps)])


def test_program_of_another_kind(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\n")
    for program in (sys.executable, str(script)):
        with pytest.raises(UserError, match="is not an aarch64 program"):
            profile(A72, [program])
    with pytest.raises(UserError, match="cannot read the program"):
        profile(A72, [str(tmp_path / "none")])


def test_missing_plugin(steps: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiler, "_SOURCE", tmp_path / "profile.c")
    with pytest.raises(UserError, match=r"profile\.c is missing"):
        walk(steps, "count", 0, 0, 10)


def test_plugin_that_qemu_refuses(steps: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiler, "_plugin", lambda: tmp_path / "none.so")
    with pytest.raises(UserError, match="does not take our plugin"):
        walk(steps, "count", 0, 0, 10)


def test_folder_with_a_comma(steps: Path, tmp_path: Path) -> None:
    folder = tmp_path / "a,b c"
    folder.mkdir()
    moved = shutil.copy(steps, folder / "steps")
    found = walk(moved, "count", 0, 0, 1000)
    files = {block.file for block in found.blocks if block.file is not None}
    assert moved.resolve() in files
    assert any(file.name.startswith("libc") for file in files)  # a library is known by its file too


def test_functions_of_no_library(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("text")
    with pytest.raises(UserError, match="cannot read the functions"):
        Functions(tmp_path / "text")
