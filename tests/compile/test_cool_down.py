"""Waiting for a board to cool, on temperatures as boards give them. Nothing is waited for here."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from compile.cool_down import cool_down
from compile.measure import Rule
from targets.board_state import BoardState, parse_state
from targets.board_warnings import Warning
from tests.targets.states import state

RULE = Rule(cool_celsius=60, cool_seconds=10, cool_look=2)


def warm(celsius: float) -> BoardState:
    return state("rpi4", ("temp 52582", f"temp {celsius * 1000:.0f}"))


def waited(states: Sequence[BoardState]) -> tuple[tuple[Warning, ...], list[float], list[str]]:
    """The warnings, the pauses and the lines, on a board whose states come in turn; the last one stays."""
    pauses: list[float] = []
    lines: list[str] = []
    found = cool_down(lambda: states[min(len(pauses), len(states) - 1)], RULE, lines.append, pauses.append)
    return found, pauses, lines


@pytest.mark.parametrize("now", [warm(41), warm(60), parse_state("")], ids=["cool", "just so", "untold"])
def test_nothing_is_waited_for(now: BoardState) -> None:
    assert waited([now]) == ((), [], [])


def test_it_waits_until_it_is_cool() -> None:
    found, pauses, lines = waited([warm(71), warm(66), warm(61), warm(59.6)])
    assert found == ()
    assert pauses == [2, 2, 2]
    assert lines == ["cooling down: 71 °C, to 60 °C, at most 10 s", "cooled down to 60 °C in 6 s"]


def test_it_does_not_wait_for_ever() -> None:
    (found,), pauses, lines = waited([warm(71), warm(68)])
    assert found.reason == "it began at 68 °C: from 71 °C it did not cool to 60 °C in 10 s"
    assert not found.unreliable and found.remedy
    assert sum(pauses) == 10 and len(lines) == 1


def test_only_zones_of_cpus_count_where_there_are_some() -> None:
    """A phone's battery and modem have theirs; a sensor that is off says 0 or nonsense."""
    assert state("rk3399").hottest == 61.111
    assert (
        parse_state(
            "/sys/class/thermal/thermal_zone0/temp 44000\n/sys/class/thermal/thermal_zone1/temp 200000\n"
        ).hottest
        == 44
    )
