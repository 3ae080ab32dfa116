"""What holds of every board with a shell: over SSH (`sshd.py`) and over adb (`phone.py`)."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from targets.device import find_boards, open_device
from targets.errors import DeviceError, LostError
from targets.shell import board as shell_board
from targets.shell.board import ShellBoard
from tests.targets.board_folder import BoardFolder, wait_until
from tests.targets.phone import ADB, Phone, adb_server
from tests.targets.sshd import SSHD, Sshd

pytestmark = pytest.mark.emulator

Arrays = tuple[np.ndarray, np.ndarray]


def _sshd(folder: Path) -> Iterator[Sshd]:
    if not SSHD.exists():
        pytest.skip("sshd is missing (Debian: openssh-server)")
    server = Sshd(folder)
    yield server
    server.stop()


def _phone(folder: Path) -> Iterator[Phone]:
    if ADB is None:
        pytest.skip("adb is missing (Debian: adb)")
    with adb_server(folder.parent):
        phone = Phone(folder)
        phone.plug_in()
        yield phone
        phone.stop()


@pytest.fixture(params=[_sshd, _phone])
def reached(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[BoardFolder]:
    make: Callable[[Path], Iterator[BoardFolder]] = request.param
    for board in make(tmp_path / "board"):
        monkeypatch.setenv("ARMATURE_CONFIG", str(board.folder / "config"))
        yield board


def shell_of(board: BoardFolder) -> ShellBoard:
    found = find_boards(board.name)
    assert isinstance(found, ShellBoard)
    return found


def test_facts_of_a_board() -> None:
    from targets.shell.scripts import parse_facts

    text = "system Linux\nmachine aarch64\nfree /dev/root 100 50 4096 51% /\n"
    for part in ("0xd03", "0xd03", "0xd08"):
        text += f"cpuinfo CPU implementer : 0x41\ncpuinfo CPU part : {part}\n"
    facts = parse_facts("Welcome!\n" + text + "khz 1400000\nkhz 1800000\nmemory MemTotal: 3971072 kB\nend\n")
    assert facts is not None
    assert facts.description == "aarch64 board with 2 x cortex-a53, 1 x cortex-a72 at up to 1.8 GHz, 3.8 GiB"
    assert (facts.free_kib, facts.has_agent) == (4096, False)
    assert parse_facts(text) is None


def test_agent_that_is_killed_is_told_and_is_back(
    reached: BoardFolder, tiny_library: Path, tiny_inputs: Arrays
) -> None:
    with open_device(reached.name) as device:
        program = device.load(tiny_library)
        for agent in reached.agents():
            with suppress(Exception):
                agent.kill()
        with pytest.raises(LostError, match="link was lost while running the network"):
            program.run(*tiny_inputs)
    assert reached.is_clean()
    with open_device(reached.name) as device:
        device.load(tiny_library).run(*tiny_inputs)


def test_crash_of_a_library_is_told(reached: BoardFolder, tmp_path: Path) -> None:
    from tests.targets.test_devices import bad_library

    library = bad_library(tmp_path, "*(volatile int*)0 = 1;")
    with (
        pytest.raises(DeviceError, match=f"the library crashed on {reached.name}: SIGSEGV"),
        open_device(reached.name) as device,
    ):
        device.load(library)


def test_two_hosts_take_turns(
    reached: BoardFolder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = shell_of(reached), shell_of(reached)
    got: list[str] = []

    def wait() -> None:
        with second:
            got.append(second.facts.machine if second.facts else "")

    with caplog.at_level(logging.WARNING), first:
        waiter = threading.Thread(target=wait)
        waiter.start()
        wait_until(lambda: "held by another host: waiting: 1 before" in caplog.text)
        assert got == []
    waiter.join(20)
    assert got == ["aarch64"]
    monkeypatch.setattr(shell_board, "START_SECONDS", 2.0)
    with first, pytest.raises(LostError, match="was not free in 2 s: 1 before us"):
        second.__enter__()
    wait_until(lambda: reached.is_clean())


def test_search_gets_its_board_back(reached: BoardFolder) -> None:
    from targets.place import answers

    lane = shell_of(reached)
    try:
        place = lane.request()
        assert (lane.count(), str(place)) == (1, reached.name)
        assert answers(place, 5)
        for agent in reached.agents():
            agent.kill()
        wait_until(lambda: not lane.is_up)
        assert not answers(place, 1)
        again = lane.request()
        assert answers(again, 5)
        assert again.token == place.token
    finally:
        lane.close()
    assert reached.is_clean()


HOLDS_A_BOARD = """
import sys, time
from targets.device import open_device
with open_device(sys.argv[1]) as device:
    print("ready", flush=True)
    time.sleep(60)
"""


def test_nothing_outlives_this_program(reached: BoardFolder, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TMPDIR": str(tmp_path)}
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDS_A_BOARD, reached.name],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
    )
    assert holder.stdout is not None and holder.stdout.readline() == "ready\n"
    assert reached.agents() != []
    holder.kill()
    holder.wait(20)
    holder.stdout.close()
    wait_until(lambda: reached.is_clean() and not reached.sessions())
    wait_until(lambda: not list(tmp_path.glob("armature-adb-*")))
