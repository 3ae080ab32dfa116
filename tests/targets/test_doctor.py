"""The checks of a board: on real agents where an emulated one can show it, else on written states."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from targets.agent.sources import agent_build, agent_version, runtime_version
from targets.cores import find_core
from targets.doctor import checks, patient
from targets.doctor.checks import CHECKS, judge_clock, judge_times
from targets.doctor.findings import Finding, Verdict
from targets.doctor.patient import Load
from targets.doctor.visit import examine
from tests.targets.sshd import SSHD, Sshd
from tests.targets.states import state
from tests.targets.test_agent import Server
from tests.targets.test_devices import bad_library

NEEDS_SILICON = {check.name for check in CHECKS if check.needs_silicon}


@pytest.fixture
def serve(agent: Path, tmp_path: Path) -> Iterator[Callable[..., Server]]:
    with ExitStack() as stack:

        def start(*options: str) -> Server:
            server = Server(agent, tmp_path, *options)
            stack.callback(server.close)
            return server

        yield start


def visit(spec: str, seconds: float = 0.5) -> dict[str, Finding]:
    return dict(examine(spec, seconds))


def look(name: str, **what: Any) -> Finding:
    (check,) = (check for check in CHECKS if check.name == name)
    return check.look(SimpleNamespace(**what))  # type: ignore[arg-type]


# -- on real agents


@pytest.mark.emulator
def test_wrong_claim_of_boards_toml_is_found(
    serve: Callable[..., Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve()
    monkeypatch.setenv("ARMATURE_CONFIG", str(tmp_path))
    row = f'[boards.pi]\naddress = "rpc://127.0.0.1:{server.port}"\ncore = "cortex-a76"\n'
    (tmp_path / "boards.toml").write_text(row)
    found = visit("pi")
    assert found["features"].verdict is Verdict.FAILED
    assert "lacks dotprod, fp16" in found["features"].said
    assert "boards.toml" in found["features"].remedy
    assert found["numbers"].verdict is Verdict.OK


@pytest.mark.emulator
@pytest.mark.skipif(not SSHD.exists(), reason="sshd is missing (Debian: openssh-server)")
def test_board_over_ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sshd = Sshd(tmp_path / "board")
    try:
        monkeypatch.setenv("ARMATURE_CONFIG", str(sshd.folder / "config"))
        found = visit("pi")
    finally:
        sshd.stop()
    assert {name for name, each in found.items() if each.verdict is Verdict.NOT_APPLICABLE} == NEEDS_SILICON
    assert found["features"] == Finding(Verdict.OK, "all of cortex-a53: crc")


@pytest.mark.emulator
def test_load_runs_where_silicon_is_supposed(
    serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it says of an emulator is worth nothing, but the way there is that of a board."""
    monkeypatch.setattr(patient, "why_emulated", lambda _: None)
    found = visit(f"rpc://127.0.0.1:{serve().port}", 1)
    assert "ns" in found["timer"].said
    assert "s of load: clock not told" in found["clock"].said
    assert "calls, p10 to p90" in found["repeatability"].said


@pytest.mark.emulator
def test_board_that_computes_wrongly_fails(
    serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    def off(core: Any, folder: Path) -> Any:
        library, arguments, expected = trial(core, folder)
        return library, arguments, expected + np.float32(0.1)

    trial = patient.trial
    monkeypatch.setattr(patient, "trial", off)
    found = visit(f"rpc://127.0.0.1:{serve().port}")
    assert found["numbers"].verdict is Verdict.FAILED
    assert "is off by" in found["numbers"].said
    assert found["round trip"].verdict is Verdict.OK


@pytest.mark.emulator
def test_board_that_crashes_fails(
    serve: Callable[..., Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = bad_library(tmp_path, "*(volatile int*)8 = 1;")
    trial = patient.trial
    monkeypatch.setattr(patient, "trial", lambda core, folder: (library, *trial(core, folder)[1:]))
    found = visit(f"rpc://127.0.0.1:{serve().port}")
    assert found["numbers"].verdict is Verdict.FAILED
    assert "crashed" in found["numbers"].said
    assert found["round trip"].verdict is Verdict.NOT_DONE


# -- on written states


OURS = {"agent": agent_version(), "runtime": runtime_version(), "build": agent_build()}


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({}, Verdict.OK),
        ({"build": "00000000"}, Verdict.WARNING),
        ({"agent": "0.0.9"}, Verdict.FAILED),
        ({"runtime": "0.26.0"}, Verdict.FAILED),
    ],
)
def test_versions(changes: dict[str, str], verdict: Verdict) -> None:
    assert look("versions", info={**OURS, **changes}).verdict is verdict


def test_agent_that_does_not_tell_its_runtime_is_too_old() -> None:
    assert look("versions", info={"agent": agent_version()}).verdict is Verdict.FAILED


@pytest.mark.parametrize(
    ("claimed", "features", "verdict", "said"),
    [
        ("cortex-a72", {"crc"}, Verdict.OK, "all of cortex-a72"),
        ("cortex-a53", {"crc"}, Verdict.WARNING, "said to be a cortex-a53, and says itself cortex-a72"),
        ("cortex-a72", set(), Verdict.FAILED, "lacks crc"),
        (None, {"crc"}, Verdict.OK, "cores: cortex-a72"),
    ],
)
def test_features_against_the_claim(
    claimed: str | None, features: set[str], verdict: Verdict, said: str
) -> None:
    found = look(
        "features",
        device=SimpleNamespace(features=frozenset(features)),
        claimed=find_core(claimed) if claimed else None,
        why_emulated=None,
        state=state("rpi4"),
    )
    assert found.verdict is verdict
    assert said in found.said


@pytest.mark.parametrize(
    ("mib", "verdict"),
    [(None, Verdict.WARNING), (10, Verdict.FAILED), (100, Verdict.WARNING), (9000, Verdict.OK)],
)
@pytest.mark.parametrize("what", ["memory", "disk"])
def test_room(what: str, mib: int | None, verdict: Verdict) -> None:
    kib = None if mib is None else mib * 1024
    found = look(what, state=SimpleNamespace(available_kib=kib, folder_free_kib=kib))
    assert found.verdict is verdict
    assert bool(found.remedy) == (verdict is not Verdict.OK)


@pytest.mark.parametrize(
    ("step", "verdict"),
    [(None, Verdict.WARNING), (52, Verdict.OK), (4_000, Verdict.WARNING), (1_000_000, Verdict.FAILED)],
)
def test_timer(step: int | None, verdict: Verdict) -> None:
    assert look("timer", state=SimpleNamespace(timer_ns=step)).verdict is verdict


def test_slow_link_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(1000))
    monkeypatch.setattr(checks, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    assert look("round trip", device=SimpleNamespace(round_trip=lambda: None)).verdict is Verdict.WARNING


def load(*seconds: float) -> Load:
    quiet = state("rpi4")
    return Load(quiet, quiet, seconds)


def test_throttling_fails_and_calm_does_not() -> None:
    calm = load(1.0)
    assert judge_clock(calm).verdict is Verdict.OK
    heated = dataclasses.replace(calm.after, cooling={"cpufreq-cpu0": 2})
    found = judge_clock(Load(calm.before, heated, (1.0,)))
    assert found.verdict is Verdict.FAILED
    assert "throttling by heat" in found.said
    assert "let it cool down" in found.remedy


STEADY = [0.001] * 100


@pytest.mark.parametrize(
    ("seconds", "verdict"),
    [
        (STEADY, Verdict.OK),
        ([0.001, 0.0012] * 50, Verdict.FAILED),
        ([*STEADY, *([0.00105] * 100)], Verdict.FAILED),
        ([0.001] * 5, Verdict.WARNING),
    ],
)
def test_repeatability(seconds: list[float], verdict: Verdict) -> None:
    found = judge_times(load(*seconds))
    assert found.verdict is verdict
    assert verdict is Verdict.WARNING or "measured median" in found.said
