"""`armature board doctor`, as people call it."""

from __future__ import annotations

import pytest

from targets.doctor.checks import CHECKS
from tests.e2e.conftest import Armature, document

NEEDS_SILICON = {check.name for check in CHECKS if check.needs_silicon}


@pytest.mark.emulator
def test_emulated_board_is_well_and_says_nothing_of_silicon(armature: Armature) -> None:
    result = armature("board", "doctor", "emulated:cortex-a76", "--json")
    report = document(result)
    assert result.exit_code == 0
    assert report["well"]
    verdicts = {row["check"]: row["verdict"] for row in report["checks"]}
    assert list(verdicts) == ["reached", *(check.name for check in CHECKS)]
    assert {name for name, verdict in verdicts.items() if verdict == "not applicable"} == NEEDS_SILICON
    assert set(verdicts.values()) == {"ok", "not applicable"}


def test_unreachable_board_fails_with_a_remedy(armature: Armature) -> None:
    result = armature("board", "doctor", "rpc://127.0.0.1:9")
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert lines[0].startswith("reached        failed: rpc://127.0.0.1:9 is not reachable")
    assert "do: see that the board is on" in lines[1]
    assert all("not done: it is not reached" in line for line in lines[2:])
    assert len(lines) == 2 + len(CHECKS)
    assert armature("board", "doctor", "nowhere").exit_code == 2
