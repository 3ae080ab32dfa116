"""What goes wrong with boards and candidates while a search runs: emulated agents and a tracker, all real."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from compile.tuning.board_measurer import BoardMeasurer, board_measurer
from compile.tuning.candidate import Figure
from compile.tuning.limits import Limits
from compile.tuning.units import EMULATOR
from targets.cores import find_core
from targets.device import find_boards
from targets.errors import DeviceError
from tests.tuning.farm import GOOD, MEMORY_MIB, Agent, Farm, candidate, farm, wait_until

pytestmark = pytest.mark.emulator

CORE = find_core("cortex-a53")
NET = "tests.e2e.test_own_model:small_net?channels=13&picture=1x3x26x22"
ROOT = Path(__file__).parents[2]
QUICK = Limits(connect=8, load=8, run=4, time=8, probe=3, pause=1, wait=40)
LONG = "for (volatile long i = 0; i < 200000000; i++) {} " + GOOD
"""A kernel that takes about half a second."""
FOREVER = "for (volatile int i = 0;; i++) {}"
GREEDY = "for (;;) { char* block = malloc(1 << 20); for (int i = 0; i < 1 << 20; i += 4096) block[i] = 1; }"


@contextmanager
def measuring(spec: str, limits: Limits = QUICK) -> Iterator[BoardMeasurer]:
    """A measurer on boards, of which no process is left afterwards."""
    boards = find_boards(spec)
    assert boards is not None
    with board_measurer(spec, boards, CORE, 1, limits) as measurer:
        yield measurer
    assert [each for each in psutil.Process().children() if "spawn_main" in " ".join(each.cmdline())] == []


@pytest.fixture
def board() -> Iterator[Agent]:
    """One emulated board, without a tracker."""
    agent = Agent()
    from targets.tracker import Place, answers

    wait_until(lambda: answers(Place("127.0.0.1", agent.port), 5))
    yield agent
    agent.kill()


@pytest.fixture
def boards() -> Iterator[Farm]:
    """Two boards behind a tracker."""
    with farm(2) as found:
        yield found


def result(answer: Future[Figure], seconds: float = 90) -> Figure:
    return answer.result(seconds)


def measured(answer: Future[Figure]) -> bool:
    figure = result(answer)
    assert not figure.failure
    return figure.seconds is not None and figure.seconds > 0


def out(measurer: BoardMeasurer) -> dict[str, str]:
    return {board.name: board.reason for board in measurer.boards if board.is_out}


def busy(*agents: Agent) -> list[Agent]:
    """Those whose library has been running for a moment."""
    return [
        agent
        for agent in agents
        if any(psutil.Process(each).cpu_percent(0.2) > 50 for each in agent.sessions())
    ]


def the_busy(*agents: Agent) -> Agent:
    wait_until(lambda: len(busy(*agents)) > 0)
    return busy(*agents)[0]


# -- the candidate's fault


def test_bad_candidates_fail_with_the_reason_and_the_board_goes_on(board, tmp_path):
    with measuring(f"rpc://{board.place}") as measurer:
        assert measurer.basis == EMULATOR
        assert measured(measurer.measure(candidate(tmp_path / "good", GOOD)))
        for name, body, reason in (
            (
                "crash",
                "*(volatile int*)0 = 1;",
                "the library crashed on .*: SIGSEGV while running the kernel",
            ),
            ("wrong", "for (int i = 0; i < 8; i++) y[i] = x[i];", r"wrong numbers: off by 7\.0e\+00"),
            ("silent", "", "wrong numbers: off by nan"),
            ("greedy", GREEDY, f"the library ran out of memory on .*, allowed are {MEMORY_MIB} MiB"),
            ("forever", FOREVER, "running it took longer than 4 s"),
        ):
            figure = result(measurer.measure(candidate(tmp_path / name, body)))
            assert figure.seconds is None
            assert re.search(reason, figure.failure), figure.failure
        assert measured(measurer.measure(tmp_path / "good"))
        assert out(measurer) == {}
    wait_until(lambda: board.sessions() == [], 5)


def test_library_that_cannot_be_loaded_is_the_candidates_failure(board, tmp_path):
    folder = candidate(tmp_path / "broken", GOOD)
    (folder / "kernel.so").write_bytes(b"no library")
    with measuring(f"rpc://{board.place}") as measurer:
        assert "failed while loading the kernel" in result(measurer.measure(folder)).failure


# -- the board's fault


def test_agent_killed_in_mid_candidate_and_the_candidate_goes_to_another_board(boards, tmp_path):
    with measuring(boards.spec) as measurer:
        answer = measurer.measure(candidate(tmp_path / "long", LONG))
        killed = the_busy(*boards.agents)
        killed.kill()
        assert measured(answer)
        assert out(measurer) == {killed.place: "does not answer"}
        killed.start()
        wait_until(lambda: out(measurer) == {})


def test_lone_agent_killed_and_back_again_takes_the_candidate_once_more(board, tmp_path):
    with measuring(f"rpc://{board.place}") as measurer:
        answer = measurer.measure(candidate(tmp_path / "long", LONG))
        wait_until(lambda: len(busy(board)) > 0)
        board.kill()
        wait_until(lambda: out(measurer) == {board.place: "does not answer"})
        board.start()
        assert measured(answer) and out(measurer) == {}


def test_frozen_agent_is_out_until_it_thaws(boards, tmp_path):
    with measuring(boards.spec) as measurer:
        answer = measurer.measure(candidate(tmp_path / "long", LONG))
        frozen = the_busy(*boards.agents)
        frozen.send(signal.SIGSTOP)
        assert measured(answer)
        assert out(measurer) == {frozen.place: "does not answer"}
        frozen.send(signal.SIGCONT)
        wait_until(lambda: out(measurer) == {})
        wait_until(lambda: sum(each.is_held for each in measurer.boards) == 2)


def test_candidate_that_freezes_two_boards_is_blamed(boards, tmp_path):
    with measuring(boards.spec) as measurer:
        answer = measurer.measure(candidate(tmp_path / "long", FOREVER))
        first = the_busy(*boards.agents)
        first.send(signal.SIGSTOP)
        (second,) = [agent for agent in boards.agents if agent is not first]
        the_busy(second).send(signal.SIGSTOP)
        figure = result(answer)
        assert figure.failure == (
            f"running it took longer than 4 s, and {first.place} and {second.place} did not answer after it"
        )


def test_tracker_restarted_while_boards_are_held(boards, tmp_path):
    with measuring(boards.spec) as measurer:
        good = candidate(tmp_path / "good", GOOD)
        wait_until(lambda: sum(each.is_held for each in measurer.boards) == 2)
        boards.tracker.kill()
        assert measured(measurer.measure(good))
        assert (
            result(measurer.measure(candidate(tmp_path / "crash", "*(volatile int*)0 = 1;"))).seconds is None
        )
        boards.tracker.start()
        wait_until(lambda: sum(each.is_held for each in measurer.boards) == 2)
        assert measured(measurer.measure(good)) and out(measurer) == {}


def test_no_board_for_too_long_ends_with_the_reasons(boards, tmp_path):
    with measuring(boards.spec, Limits(connect=5, run=4, probe=2, pause=1, wait=6)) as measurer:
        answer = measurer.measure(candidate(tmp_path / "long", LONG))
        the_busy(*boards.agents)
        boards.kill()
        with pytest.raises(
            DeviceError, match=r"no board could be used for 6 s .*does not answer.*tracker is not"
        ):
            result(answer)


def test_closed_port_is_told_and_waited_for(board, tmp_path):
    with measuring(f"rpc://{board.place}") as measurer:
        good = candidate(tmp_path / "good", GOOD)
        assert measured(measurer.measure(good))
        board.kill()
        answer = measurer.measure(good)
        time.sleep(3)
        assert not answer.done() and out(measurer) == {board.place: "does not answer"}
        board.start()
        assert measured(answer)
