"""What goes wrong with boards and candidates while a search runs: emulated agents and a tracker, all real."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from click.testing import Result

from compile.frontend import trace
from compile.tuning.board_measurer import BoardMeasurer, board_measurer
from compile.tuning.candidate import Figure, estimate_candidate
from compile.tuning.limits import Limits
from compile.tuning.records import FAILURES, best_first, by_kernel, spell_draws
from compile.tuning.spec import read_spec
from compile.tuning.task import tasks_of
from compile.tuning.units import CYCLE, EMULATOR
from targets.device import find_boards
from targets.errors import DeviceError, UserError
from targets.pin import Pin
from tests.e2e.conftest import armature  # noqa: F401
from tests.tuning.farm import GOOD, MEMORY_MIB, Agent, Farm, candidate, farm, wait_until
from tests.tuning.tunes import CORE, NET, assert_ends_when_interrupted, log_of, tune, wait_for_records

pytestmark = pytest.mark.emulator

QUICK = Limits(connect=8, load=8, run=4, time=8, probe=3, pause=1, wait=40)
LONG = "extern int usleep(unsigned); usleep(500000); " + GOOD
"""A kernel that takes half a second, however busy this machine is."""
FOREVER = "for (volatile int i = 0;; i++) {}"
GREEDY = "for (;;) { char* block = malloc(1 << 20); for (int i = 0; i < 1 << 20; i += 4096) block[i] = 1; }"


@contextmanager
def measuring(spec: str, limits: Limits = QUICK, pin: Pin | None = None) -> Iterator[BoardMeasurer]:
    """A measurer on boards, of which no process is left afterwards."""
    boards = find_boards(spec)
    assert boards is not None
    with board_measurer(spec, boards, CORE, 1, limits, pin) as measurer:
        yield measurer
    alive = [each for each in psutil.Process().children() if each.status() != psutil.STATUS_ZOMBIE]
    assert [each for each in alive if "spawn_main" in " ".join(each.cmdline())] == []


@pytest.fixture
def board() -> Iterator[Agent]:
    """One emulated board, without a tracker."""
    agent = Agent()
    from targets.place import Place, answers

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


def caller(folder: Path, *agents: Agent) -> Agent:
    """The board on which the candidate in `folder` is called, once it is."""

    def found() -> list[Agent]:
        called = {int(file.suffix[1:]) for file in folder.glob("called.*")}
        return [agent for agent in agents if called & set(agent.sessions())]

    wait_until(lambda: found() != [])
    return found()[0]


def test_candidates_run_on_the_chosen_cpus(board, tmp_path):
    cpu = max(os.sched_getaffinity(0))
    elsewhere = f"extern int sched_getcpu(void); if (sched_getcpu() != {cpu}) *(volatile int*)0 = 1; "
    with measuring(f"rpc://{board.place}", pin=Pin(frozenset({cpu}))) as measurer:
        assert measured(measurer.measure(candidate(tmp_path / "pinned", elsewhere + GOOD)))
    with (
        pytest.raises(UserError, match="has no cortex-a76"),
        measuring(f"rpc://{board.place}", pin=Pin(core="cortex-a76")),
    ):
        pass


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
        answer = measurer.measure(long := candidate(tmp_path / "long", LONG))
        killed = caller(long, *boards.agents)
        killed.kill()
        assert measured(answer)
        assert out(measurer) == {killed.place: "does not answer"}
        killed.start()
        wait_until(lambda: out(measurer) == {})


def test_lone_agent_killed_and_back_again_takes_the_candidate_once_more(board, tmp_path):
    with measuring(f"rpc://{board.place}") as measurer:
        answer = measurer.measure(long := candidate(tmp_path / "long", LONG))
        caller(long, board)
        board.kill()
        wait_until(lambda: out(measurer) == {board.place: "does not answer"})
        board.start()
        assert measured(answer) and out(measurer) == {}


def test_frozen_agent_is_out_until_it_thaws(boards, tmp_path):
    with measuring(boards.spec) as measurer:
        answer = measurer.measure(long := candidate(tmp_path / "long", LONG))
        frozen = caller(long, *boards.agents)
        frozen.send(signal.SIGSTOP)
        assert measured(answer)
        assert out(measurer) == {frozen.place: "does not answer"}
        frozen.send(signal.SIGCONT)
        wait_until(lambda: out(measurer) == {})
        wait_until(lambda: sum(each.is_held for each in measurer.boards) == 2)


def test_candidate_that_freezes_two_boards_is_blamed(boards, tmp_path):
    with measuring(boards.spec) as measurer:
        answer = measurer.measure(long := candidate(tmp_path / "long", FOREVER))
        first = caller(long, *boards.agents)
        first.send(signal.SIGSTOP)
        (second,) = [agent for agent in boards.agents if agent is not first]
        caller(long, second).send(signal.SIGSTOP)
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
        answer = measurer.measure(long := candidate(tmp_path / "long", LONG))
        caller(long, *boards.agents)
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


# -- `armature tune` on boards


def tune_on(spec: str, folder: Path, *options: object, **streams: object) -> subprocess.Popen[str]:
    return tune(folder, "--device", spec, "--cpu", CORE.name, *options, **streams)


def points(folder: Path) -> Counter[tuple[str, str]]:
    """How often each point is in the log, failed or not."""
    log = log_of(folder)
    found = Counter((record.key, spell_draws(record.draws)) for record in log.records())
    file = log.folder / FAILURES
    failures = file.read_text().splitlines() if file.exists() else []
    found.update((key, draws) for key, draws, *_ in map(json.loads, failures))
    return found


@pytest.mark.parametrize("times", [1, 2])
def test_interrupted_tune_frees_the_boards_and_leaves_no_process(boards, times, tmp_path):
    process = tune_on(boards.spec, tmp_path, stderr=subprocess.PIPE)
    assert_ends_when_interrupted(process, tmp_path, 3, times)
    wait_until(lambda: not any(agent.sessions() for agent in boards.agents), 5)
    assert set(points(tmp_path).values()) == {1}


def test_boards_need_a_core_and_must_be_one(boards, tmp_path, armature):  # noqa: F811
    result = armature("tune", NET, "--device", boards.spec, "--tuning-log", tmp_path)
    assert result.exit_code == 2 and "add --cpu CORE or --board BOARD" in result.stderr
    result = armature("tune", NET, "--device", boards.spec, "--board", "rpi5", "--tuning-log", tmp_path)
    assert result.exit_code == 2 and "is no cortex-a76: its CPU lacks dotprod" in result.stderr
    result = armature("tune", NET, "--device", "emulated:a53", "--cpu", "a72", "--tuning-log", tmp_path)
    assert result.exit_code == 2 and "is a cortex-a53 and no cortex-a72" in result.stderr


def test_what_failed_is_left_out_until_it_is_asked_for(boards, tmp_path, armature):  # noqa: F811
    command = ("tune", NET, "--device", boards.spec, "--cpu", "a53", "--tuning-log", tmp_path, "--json")
    assert armature(*command, "--trials", 8).exit_code == 0
    log = log_of(tmp_path)
    lost = log.records()[0]  # a kernel's default, which is measured before all else
    log.replace([record for record in log.records() if record.line != lost.line])
    failure = json.dumps([lost.key, spell_draws(lost.draws), "wrong numbers", boards.spec])
    (log.folder / FAILURES).write_text(failure + "\n")

    document = events(armature(*command, "--trials", 8, "--resume"))[-1]
    assert (document["known_before"], document["known_failures"], len(log.records())) == (7, 1, 7)
    told = events(armature(*command, "--trials", 8, "--resume", "--retry-failed"))
    assert told[-1]["known_failures"] == 0 and len(log.records()) == 8
    assert spell_draws(log.records()[-1].draws) == spell_draws(lost.draws)
    assert {event["name"] for event in told if event["event"] == "board"} <= {a.place for a in boards.agents}


def events(result: Result) -> list[dict[str, object]]:
    assert result.exit_code == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def cycles(folder: Path) -> float:
    """What the best points that a tune found come to by the cycle model."""
    best = {key: best_first(records)[0] for key, records in by_kernel(log_of(folder).records()).items()}
    total = 0.0
    for task in tasks_of({"net": trace(read_spec(NET)).relax()}, CORE):
        figure = estimate_candidate(task.text, task.roles, best[task.key].draws, CORE, 60.0)
        assert figure.seconds is not None, figure.failure
        total += figure.seconds / CYCLE
    return total


@pytest.mark.slow
def test_three_of_eight_boards_killed_at_random_moments(tmp_path):
    trials, seed = 48, random.randrange(10**6)
    print("seed", seed)
    chance = random.Random(seed)
    with farm(8) as boards:
        process = tune_on(
            boards.spec, tmp_path / "disturbed", "--trials", trials, "--json", stdout=subprocess.PIPE
        )
        wait_for_records(process, tmp_path / "disturbed", 3)
        killed = chance.sample(boards.agents, 3)
        for agent in killed:
            time.sleep(chance.uniform(0, 2))
            agent.kill()
        told = [json.loads(line) for line in process.communicate(timeout=300)[0].splitlines()]
    assert process.returncode == 0
    found = points(tmp_path / "disturbed")
    assert set(found.values()) == {1} and sum(found.values()) == trials == told[-1]["trials"]
    assert not log_of(tmp_path / "disturbed").failures(boards.spec)
    out = {event["name"]: event["reason"] for event in told if event["event"] == "board" and event["reason"]}
    assert out.keys() <= {agent.place for agent in killed}, out
    with farm(2) as boards:
        assert tune_on(boards.spec, tmp_path / "calm", "--trials", trials).wait(300) == 0
    assert cycles(tmp_path / "disturbed") <= 1.1 * cycles(tmp_path / "calm")
