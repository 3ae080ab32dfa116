"""`armature bench` on a board: over RPC, against an emulated one, whose time is never asserted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from compile.bundle import open_bundle
from compile.cli.console import print_parts
from compile.cli.show_measured import measured
from compile.measure import Rule
from compile.measure_bundle import MeasuredReport, measure_all_on, measure_on
from targets.cores import find_core
from targets.emulated.board import EmulatedBoard
from tests.e2e.conftest import Armature

pytestmark = pytest.mark.emulator

FEW = Rule(
    warm_seconds=0,
    warm_agreement=9,
    batch_seconds=0,
    batch_least=4,
    precision=9,
    least_inferences=12,
    cool_seconds=0,  # an emulated board shows this machine's heat
)


@pytest.fixture(scope="module")
def board() -> Iterator[str]:
    """The address of an agent, which does not say that it is emulated."""
    with EmulatedBoard(find_core("cortex-a53")) as board:
        yield f"rpc://127.0.0.1:{board.port}"


@pytest.fixture(scope="module")
def report(small_bundle: Path, board: str) -> MeasuredReport:
    bundle = open_bundle(small_bundle)
    with bundle.loaded_on(board) as (device, program):
        return measure_on(device, program, bundle, FEW)


def test_inferences_are_counted(report: MeasuredReport) -> None:
    """Warm-up: three, then a batch that agrees; then three batches of four."""
    assert report.measurement.warm_up == 3 + 4
    assert len(report.measurement.seconds) == 3 * 4
    assert all(seconds > 0 for seconds in report.measurement.seconds)
    assert report.measurement.stable


def test_every_inference_is_sampled_on_its_cpu(report: MeasuredReport) -> None:
    """Those of the warm-up are forgotten."""
    assert sum(sample.times for sample in report.after.ran) == 3 * 4
    assert sum(sample.times for sample in report.before.ran) == 3 + 4
    assert {sample.cpu for sample in report.after.ran} <= report.after.mask


def test_json_and_table(report: MeasuredReport, capsys: pytest.CaptureFixture[str]) -> None:
    told = json.loads(json.dumps(report.to_json()))
    assert told["basis"] == "measured"
    assert told["inferences"] == 12
    assert told["milliseconds"]["p10"] <= told["milliseconds"]["p50"] <= told["milliseconds"]["p90"]
    assert told["threads"] >= 1
    print_parts(measured(report))
    printed = capsys.readouterr().out
    for part in ("measured", "p50 ms", "CPU mask", "governor", "temperature", "does not tell its clocks"):
        assert part in printed


def test_bundles_in_turns(small_bundle: Path, board: str) -> None:
    """The same one twice, in one session."""
    bundle = open_bundle(small_bundle)
    with bundle.opened(board) as device:
        loaded = [(bundle, bundle.load_on(device)) for _ in range(2)]
        reports = measure_all_on(device, loaded, FEW)
    for report in reports:
        assert (report.measurement.warm_up, len(report.measurement.seconds)) == (3 + 4, 3 * 4)
        assert report.ratio_to(reports[0]).turns == 3
    assert sum(sample.times for sample in reports[0].after.ran) == 2 * 3 * 4


def test_the_command_refuses_an_emulated_board(armature: Armature, small_bundle: Path, board: str) -> None:
    result = armature("bench", small_bundle, "--device", board)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "is an emulated board" in result.stderr
    assert "--device emulated:cortex-a53" in result.stderr


def test_several_are_not_estimated_together(armature: Armature, small_bundle: Path) -> None:
    result = armature("bench", small_bundle, small_bundle, "--device", "emulated")
    assert result.exit_code == 2
    assert "estimates are of one at a time" in result.stderr


@pytest.mark.parametrize("device", ["rpc://localhost:1", "tracker://localhost:1/pi"])
def test_a_board_that_is_not_there(armature: Armature, small_bundle: Path, device: str) -> None:
    result = armature("bench", small_bundle, "--device", device)
    assert result.exit_code == 1
    assert "not reachable" in result.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--device", "rpc://localhost:1", "--ghz", "1.5"), "--ghz is for estimates"),
        (("--device", "emulated", "--seconds", "5"), "--seconds is for a board"),
        (("--device", "rpc://localhost:1", "--core", "a53"), "both choose the core"),
        (("--device", "emulated", "--pin", "0"), "--pin is for a board"),
        (("--device", "emulated", "--governor", "performance"), "--governor is for a board"),
        (("--device", "rpc://localhost:1", "--pin", "0,x"), "--pin: '0,x' is no list of CPUs"),
        (("--device", "rpc://localhost"), "rpc needs rpc://HOST:PORT"),
    ],
)
def test_options_that_do_not_fit(
    armature: Armature, small_bundle: Path, options: tuple[str, ...], said: str
) -> None:
    result = armature("bench", small_bundle, *options)
    assert result.exit_code == 2
    assert said in result.stderr
