"""When boards are out, for how long, and which of them gets a candidate that lost one."""

from __future__ import annotations

from concurrent.futures import Future
from pathlib import Path

import pytest

from compile.tuning import board_health
from compile.tuning.board_health import STRIKES, BoardHealth
from compile.tuning.board_jobs import Job, Jobs
from targets.errors import DeviceError
from targets.place import Place

PI = Place("pi", 9090)
PAUSE = 5.0


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands until it is set."""

    class Clock:
        now = 1000.0

    monkeypatch.setattr(board_health.time, "monotonic", lambda: Clock.now)
    return Clock


@pytest.fixture
def health(clock) -> BoardHealth:  # noqa: ARG001
    return BoardHealth(PAUSE)


def asked_after(health: BoardHealth, clock, seconds: float, *, answers: bool) -> bool:
    """Whether the board is asked so much later; it is then told to answer or not."""
    asked = []
    clock.now += seconds
    health.try_again(lambda place: asked.append(place) or answers)
    return asked == [PI]


def test_board_that_answers_is_out_after_some_failures_in_a_row(health):
    for _ in range(STRIKES - 1):
        health.failed(PI, "the link was lost", answers=True)
    assert not health.is_out(PI)
    health.did_well(PI)
    for _ in range(STRIKES):
        assert not health.is_out(PI)
        health.failed(PI, "the link was lost", answers=True)
    assert health.is_out(PI)
    assert [(each.name, each.reason) for each in health.boards] == [("pi:9090", "the link was lost")]


def test_board_that_does_not_answer_is_out_at_once_and_for_longer_each_time(health, clock):
    health.failed(PI, "does not answer", answers=False)
    for pause in (PAUSE, 2 * PAUSE, 4 * PAUSE):
        assert not asked_after(health, clock, pause - 1, answers=True)
        assert asked_after(health, clock, 1, answers=False)
        assert health.is_out(PI)
    assert asked_after(health, clock, 8 * PAUSE, answers=True)
    assert not health.is_out(PI)


def test_board_that_is_back_is_on_probation_until_it_measures(health, clock):
    health.failed(PI, "does not answer", answers=False)
    asked_after(health, clock, PAUSE, answers=True)
    health.failed(PI, "the link was lost", answers=True)
    assert health.is_out(PI)
    assert asked_after(health, clock, 2 * PAUSE, answers=True)
    health.did_well(PI)
    health.failed(PI, "does not answer", answers=False)
    assert asked_after(health, clock, PAUSE, answers=True)


def test_unfit_board_never_comes_back(health, clock):
    health.is_unfit(PI, "its CPU lacks dotprod")
    assert not asked_after(health, clock, 1e6, answers=True) and health.is_out(PI)


def test_time_without_a_board(health, clock):
    clock.now += 3
    assert health.seconds_without == 0
    health.wants_board()
    clock.now += 3
    assert health.seconds_without == 3
    health.takes(PI)
    clock.now += 3
    assert health.seconds_without == 0
    health.leaves(PI)
    clock.now += 2
    assert health.seconds_without == 2


def never() -> bool:
    return False


def test_board_that_others_want_takes_no_more():
    jobs = Jobs()
    jobs.put(Job(Path("next"), Future()))
    asked = iter([False, True])
    assert jobs.take("pi:1", lambda: True, lambda: next(asked)) is not None
    assert jobs.take("pi:1", lambda: True, lambda: next(asked)) is None
    later = iter([False, False, True])
    assert jobs.take("pi:1", lambda: True, lambda: next(later)) is None  # also while it waits for one


def test_candidate_that_lost_a_board_goes_to_another():
    jobs = Jobs()
    lost, fresh = Job(Path("lost"), Future(), lost_on=["pi:1"]), Job(Path("fresh"), Future())
    jobs.put(fresh)
    jobs.put(lost, first=True)
    assert jobs.take("pi:1", lambda: False, never) is fresh
    assert jobs.take("pi:2", lambda: False, never) is lost
    jobs.put(lost, first=True)
    assert jobs.take("pi:1", lambda: True, never) is lost


def test_closed_queue_gives_up_what_is_in_it_and_what_comes():
    jobs = Jobs()
    before, after = Job(Path("before"), Future()), Job(Path("after"), Future())
    jobs.put(before)
    jobs.close(DeviceError("all gone"))
    jobs.put(after)
    assert jobs.take("pi:1", lambda: True, never) is None
    for job in (before, after):
        with pytest.raises(DeviceError, match="all gone"):
            job.answer.result(0)
