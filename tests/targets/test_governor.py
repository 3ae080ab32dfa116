"""The governor that a session asks for, in files that qemu-user shows to the agent; and back again."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from targets.cores import find_core
from targets.emulated.board import EmulatedBoard, find_sysroot
from targets.errors import DeviceError
from targets.pin import Pin
from targets.place import Place
from targets.rpc import RpcDevice, connect_place

pytestmark = pytest.mark.emulator
CPU = max(os.sched_getaffinity(0))


@pytest.fixture
def governor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / f"sys/devices/system/cpu/cpu{CPU}/cpufreq/scaling_governor"
    file.parent.mkdir(parents=True)
    file.write_text("schedutil\n")
    (tmp_path / "lib").symlink_to(find_sysroot() / "lib")
    monkeypatch.setenv("QEMU_LD_PREFIX", str(tmp_path))
    return file


@pytest.fixture
def board(governor: Path) -> Iterator[EmulatedBoard]:
    assert governor.is_file()
    with EmulatedBoard(find_core("cortex-a53")) as board:
        yield board


def killed(device: RpcDevice) -> None:
    """As by the kernel, when memory is short."""
    (agent,) = (each for each in psutil.Process().children() if "serve" in each.cmdline())
    for session in agent.children():
        session.kill()
    with pytest.raises(DeviceError):
        device.round_trip()


def end(device: RpcDevice) -> None:
    """Nothing: the session is closed."""


def hang_up(device: RpcDevice) -> None:
    device.link.session.get_function("CloseRPCConnection")()


def wait_for(file: Path, governor: str) -> None:
    limit = time.monotonic() + 30
    while file.read_text().strip() != governor and time.monotonic() < limit:
        time.sleep(0.05)
    assert file.read_text().strip() == governor


@pytest.mark.parametrize("ending", [end, hang_up, killed])
def test_it_is_set_and_comes_back(
    governor: Path, board: EmulatedBoard, ending: Callable[[RpcDevice], None]
) -> None:
    with connect_place("rpc://pi:9", Place(board.host, board.port)) as device:
        device.pin(Pin(frozenset({CPU})))
        assert governor.read_text() == "schedutil\n"
        device.set_governor("performance")
        assert governor.read_text() == "performance"
        ending(device)
    wait_for(governor, "schedutil")


def test_it_comes_back_when_the_agent_is_stopped(governor: Path, board: EmulatedBoard) -> None:
    with connect_place("rpc://pi:9", Place(board.host, board.port)) as device:
        device.pin(Pin(frozenset({CPU})))
        device.set_governor("performance")
        board.__exit__(None, None, None)
        wait_for(governor, "schedutil")


def test_a_board_that_has_none(governor: Path, board: EmulatedBoard) -> None:
    with connect_place("rpc://pi:9", Place(board.host, board.port)) as device:
        device.pin(Pin(frozenset({CPU})))
        governor.unlink()
        with pytest.raises(DeviceError, match=rf"cpu {CPU}: its kernel tells no governor: measure without"):
            device.set_governor("performance")
