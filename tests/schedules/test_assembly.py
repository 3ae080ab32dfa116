"""What LLVM makes of the schedules for cortex-a72: multiply-adds per loop, and nothing spilled inside."""

from __future__ import annotations

import re

import pytest
from reference import Case, compiled

from schedules.window import Window
from targets.cores import find_core

CORE = find_core("cortex-a72")
WINDOW = Window((3, 3), (1, 1), (1, 1, 1, 1))
POINTWISE = Case("pointwise", (1, 96, 14, 14), 576)
DEPTHWISE = Case("depthwise", (1, 192, 28, 28), 192, WINDOW)
EVERY_KIND = [
    POINTWISE,
    DEPTHWISE,
    Case("conv", (1, 3, 56, 56), 32, Window((3, 3), (2, 2), (1, 1, 1, 1)), channels_last=False),
    Case("dense", (1, 1280), 1000),
    Case("mean", (1, 1280, 7, 7)),
    Case("pool", (1, 64, 28, 28), 0, WINDOW),
]


def assembly(case: Case) -> str:
    return compiled(case, CORE, CORE.target()).inspect_source("s")


def innermost_loops(source: str) -> list[list[str]]:
    """The instructions of every loop that holds no other: from a label to a branch back to it."""
    lines = [line.strip() for line in source.splitlines() if re.match(r"\s+[a-z]|\.LBB", line)]
    labels = {line.split(":")[0]: index for index, line in enumerate(lines) if line.startswith(".LBB")}
    spans = []
    for end, line in enumerate(lines):
        branch = re.match(r"(?:b\.\w+|cbn?z|tbn?z|b)\s.*?(\.LBB\w+)", line)
        if branch and labels.get(branch[1], end) < end:
            spans.append((labels[branch[1]], end))
    inner = [(a, b) for a, b in spans if not any((c, d) != (a, b) and a <= c and d <= b for c, d in spans)]
    return [[line for line in lines[a : b + 1] if not line.startswith(".LBB")] for a, b in inner]


def count(loop: list[str], instruction: str) -> int:
    return sum(line.split()[0] == instruction for line in loop)


def spills(loop: list[str]) -> list[str]:
    return [line for line in loop if re.match(r"(str|stp|stur|ldr|ldp|ldur)\s+[qdsv]\d.*\[sp", line)]


def test_pointwise_loop_is_56_multiply_adds_of_71_instructions():
    (loop,) = [loop for loop in innermost_loops(assembly(POINTWISE)) if count(loop, "fmla")]
    assert count(loop, "fmla") == 56  # 7 pixels x 8 output channels / 4 lanes x 4 input channels
    assert len(loop) <= 72
    assert not spills(loop)
    assert not [line for line in loop if line.startswith("st")]


def test_depthwise_interior_keeps_its_filter_in_registers():
    loops = [loop for loop in innermost_loops(assembly(DEPTHWISE)) if count(loop, "fmla") == 63]
    assert loops, "no loop over seven outputs by nine taps"
    for loop in loops:
        assert not spills(loop)
        assert count(loop, "ldr") + 2 * count(loop, "ldp") <= 3 * 9  # each pixel once, no weight
        assert count(loop, "str") + 2 * count(loop, "stp") == 7


@pytest.mark.parametrize("case", EVERY_KIND, ids=str)
def test_register_tiles_need_no_workspace(case):
    assert "Workspace" not in assembly(case)
