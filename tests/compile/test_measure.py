"""The measuring logic, on sequences of times as boards give them. Nothing is timed here."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain, cycle, repeat
from math import comb
from pathlib import Path

import numpy as np
import pytest

from compile.cli.console import print_parts
from compile.cli.show_measured import compared
from compile.measure import (
    Measurement,
    Ratio,
    Rule,
    TimeInferences,
    measure,
    measure_in_turns,
    median_error,
    median_rank,
    ratio,
    timing_warnings,
)
from compile.measure_bundle import MeasuredReport, compared_json
from tests.targets.states import state

RULE = Rule()


class Board:
    """Gives the times of a sequence, in batches, and remembers the batches."""

    def __init__(self, milliseconds: Iterator[float]) -> None:
        self.milliseconds = milliseconds
        self.batches: list[int] = []

    def time(self, inferences: int) -> list[float]:
        self.batches.append(inferences)
        return [next(self.milliseconds) / 1e3 for _ in range(inferences)]


def noise(middle: float, part: float) -> Iterator[float]:
    generator = np.random.default_rng(0)
    return (middle * (1 + part * float(value)) for value in iter(generator.standard_normal, None))


def slowing(start: float, per_inference: float) -> Iterator[float]:
    """As of a board that heats up."""
    return (start * (1 + per_inference * number) for number in range(10**6))


def measured(milliseconds: Iterator[float], rule: Rule = RULE) -> tuple[Measurement, Board]:
    board = Board(milliseconds)
    return measure(board.time, rule), board


def said(found: Measurement) -> list[str]:
    return [warning.reason for warning in timing_warnings(found)]


# -- sequences


def test_stable() -> None:
    found, board = measured(noise(20, 0.005))
    assert found.stable and said(found) == []
    assert found.percentile(50) == pytest.approx(0.020, rel=0.005)
    assert found.percentile(10) < found.percentile(50) < found.percentile(90)
    assert len(found.seconds) + found.warm_up == sum(board.batches)
    assert len(found.seconds) >= RULE.least_inferences
    assert found.median_error <= RULE.precision


def test_the_first_inferences_do_not_count() -> None:
    found, _ = measured(chain([900, 400, 80], repeat(20)))
    assert max(found.seconds) == pytest.approx(0.020)
    assert found.warm_up >= 3


def test_it_warms_up_until_the_clock_has_risen() -> None:
    """A governor that takes half a second, by steps."""
    found, _ = measured(chain(repeat(60, 5), repeat(40, 8), repeat(20)))
    assert set(found.seconds) == {0.020}
    assert said(found) == []


def test_throttling_is_a_drift() -> None:
    found, _ = measured(slowing(20, 0.0008))
    assert found.drift > 0.03
    assert any("slower while it was measured: throttling?" in reason for reason in said(found))


def test_a_sudden_throttling() -> None:
    found, _ = measured(chain(repeat(20, 120), repeat(30)), Rule(least_inferences=200))
    assert any("slower" in reason for reason in said(found))


def test_it_may_become_faster() -> None:
    found, _ = measured(chain(repeat(30, 700), repeat(20)), Rule(least_inferences=900))
    assert any("faster while it was measured: still warming up?" in reason for reason in said(found))


def test_two_modes_are_not_stable() -> None:
    """A thread that moves between a slow and a fast cluster."""
    found, _ = measured(cycle([20.0, 31.0]), Rule(seconds=5))
    assert not found.stable
    assert 5 <= sum(found.seconds) < 6
    assert any(reason.startswith("not stable: after 5 s") for reason in said(found))
    assert any("from p10 to p90 it varies by" in reason for reason in said(found))


def test_a_rare_second_mode_is_a_spread() -> None:
    found, _ = measured(cycle([20.0, 20.0, 20.0, 20.0, 31.0]))
    assert found.stable
    assert said(found) == ["from p10 to p90 it varies by 55% of the median"]


@pytest.mark.parametrize("milliseconds", [0.002, 0.5, 20, 400, 3000])
def test_batches_fit_the_network(milliseconds: float) -> None:
    found, board = measured(repeat(milliseconds))
    assert all(RULE.batch_least <= batch <= RULE.batch_most for batch in board.batches)
    longest = max(RULE.batch_seconds, RULE.batch_least * milliseconds / 1e3) * 1.01
    assert max(board.batches) * milliseconds / 1e3 <= longest
    assert sum(found.seconds) <= RULE.seconds + longest
    assert found.stable == (milliseconds < 3000)


def test_a_network_of_minutes_is_told_to_be_unknown() -> None:
    found, board = measured(repeat(60_000.0))
    assert board.batches == [3, 3]
    assert math.isinf(found.median_error)
    assert said(found) == ["not stable: after 180 s of inferences the median is of too few inferences"]


def test_the_state_is_asked_once_when_warm() -> None:
    board = Board(repeat(20.0))
    asked: list[int] = []
    found = measure(board.time, RULE, warm=lambda: asked.append(sum(board.batches)))
    assert asked == [found.warm_up]


# -- in turns


class Shared:
    """A board on which every inference, of whichever network, makes the next ones slower."""

    def __init__(self, per_inference: float) -> None:
        self.per_inference = per_inference
        self.done = 0
        self.order: list[str] = []

    def network(self, name: str, milliseconds: float) -> TimeInferences:
        def time(inferences: int) -> list[float]:
            self.order.append(name)
            self.done += inferences
            return [milliseconds / 1e3 * (1 + self.per_inference * self.done)] * inferences

        return time


def test_batches_take_turns() -> None:
    board = Shared(0)
    warm: list[int] = []
    found = measure_in_turns(
        [board.network("a", 20), board.network("b", 30)], RULE, lambda: warm.append(len(board.order))
    )
    assert board.order[: warm[0]] == sorted(board.order[: warm[0]])
    assert board.order[warm[0] :] == ["a", "b"] * RULE.least_batches
    assert [each.percentile(50) for each in found] == pytest.approx([0.020, 0.030])
    assert all(each.stable and said(each) == [] for each in found)


def test_a_drift_hits_all_alike() -> None:
    """One after the other, the second would have seemed to take half as long again as it does."""
    board = Shared(0.0005)
    rule = Rule(least_inferences=600)
    one, two = measure_in_turns([board.network("a", 20), board.network("b", 25)], rule)
    assert min(one.drift, two.drift) > 0.1
    found = ratio(two, one)
    assert found.turns >= 20
    assert found.p10 <= found.median <= found.p90
    assert found.median == pytest.approx(1.25, rel=0.02)
    assert ratio(one, one) == Ratio(1, 1, 1, len(one.medians))


def test_each_has_the_time_of_one_alone() -> None:
    """The slow one's is up at once; the other one goes on without it."""
    board = Shared(0)
    slow, quick = measure_in_turns([board.network("slow", 60_000), board.network("quick", 20)], RULE)
    assert (len(slow.medians), slow.stable) == (1, False)
    assert (len(quick.medians), quick.stable) == (RULE.least_batches, True)
    assert ratio(quick, slow).turns == 1


# -- the interval of the median


@pytest.mark.parametrize("count", [*range(8, 72), 100, 500, 1001])
def test_rank_holds_95_per_cent(count: int) -> None:
    """Exactly: the median lies outside when fewer than `rank` of the values are on one side of it."""
    rank = median_rank(count)
    outside = 2 * sum(comb(count, below) for below in range(rank)) / 2**count
    assert rank >= 1
    assert outside <= 0.05


@pytest.mark.parametrize("count", range(8))
def test_few_values_bound_no_median(count: int) -> None:
    assert median_error([1.0] * count) == math.inf


def test_median_error_of_known_values() -> None:
    """Of 20, the 5th from either end: 5 and 16 about 10.5."""
    assert median_error(list(range(20, 0, -1))) == pytest.approx(5.5 / 10.5)


# -- the report


def report(make: Callable[[], Iterator[float]], *changes: tuple[str, str]) -> MeasuredReport:
    found, _ = measured(make())
    before, after = state("rpi4"), state("rpi4", *changes)
    return MeasuredReport(
        Path("b"), "cortex-a72", "rpc://pi:9090", "a board", 300_000_000, found, before, after
    )


def test_a_figure_that_holds() -> None:
    told = report(lambda: repeat(20.0)).to_json()
    assert (told["basis"], told["unreliable"], told["warnings"]) == ("measured", False, [])
    assert told["milliseconds"] == pytest.approx({"p10": 20, "p50": 20, "p90": 20})
    assert told["gflops"] == pytest.approx(30)
    assert (told["threads"], told["cpu_mask"]) == (1, "0-3")
    assert told["after"]["cpus"][0]["governor"] == "ondemand"
    assert told["after"]["celsius"] == {"cpu-thermal": 52.582}


def test_a_figure_that_does_not() -> None:
    told = report(lambda: repeat(20.0), ("ondemand", "powersave")).to_json()
    assert told["unreliable"]
    assert [warning["unreliable"] for warning in told["warnings"]] == [True]
    assert told["warnings"][0]["remedy"]


def test_code_for_another_core_is_a_note() -> None:
    cpu = "cpu2/regs/identification/midr_el1 0x00000000"
    told = report(lambda: repeat(20.0), (f"{cpu}410fd083", f"{cpu}410fd034")).to_json()
    notes = [warning["reason"] for warning in told["warnings"] if not warning["unreliable"]]
    assert "compiled for cortex-a72, but cpu 2, which ran it, is a cortex-a53" in notes


def test_reports_in_turns(capsys: pytest.CaptureFixture[str]) -> None:
    """What is against one alone is told with its name, what is against all without."""
    first = report(lambda: repeat(20.0), ("ondemand", "powersave"))
    second = replace(report(lambda: cycle([20.0, 31.0])), bundle=Path("c"), after=first.after)
    told = compared_json([first, second])
    assert [row["bundle"] for row in told["bundles"]] == ["b", "c"]
    assert told["bundles"][0]["ratio"] == {"median": 1, "p10": 1, "p90": 1, "turns": 3}
    assert told["bundles"][1]["ratio"]["median"] > 1
    print_parts(compared([first, second]))
    printed = capsys.readouterr().out
    assert "2 bundles measured in turns, unreliable" in printed
    assert "unreliable: governor is powersave" in printed
    assert "unreliable: c: from p10 to p90 it varies" in printed
    assert "1.000 to 1.000" in printed
