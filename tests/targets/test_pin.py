"""A session kept on chosen CPUs: what may be asked for, and what the agent does, by the kernel's account."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from numpy.typing import NDArray

from targets.board_state import cpu_list
from targets.cores import find_core
from targets.device import HOST, open_device
from targets.emulated.board import EmulatedBoard
from targets.errors import DeviceError, UserError
from targets.pin import Pin, parse_pin
from targets.place import Place
from targets.rpc import PIN, RpcDevice, connect_place
from tests.targets.states import state

Arrays = tuple[NDArray[Any], ...]


@pytest.mark.parametrize(
    ("text", "cpus"), [("4-5", "4-5"), ("0, 2-3", "0,2-3"), ("5", "5"), ("a72", "4-5"), ("Cortex-A53", "0-3")]
)
def test_cpus_by_number_and_by_core(text: str, cpus: str) -> None:
    assert cpu_list(parse_pin(text).cpus_of(state("rk3399"), "it")) == cpus


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("5-4", "'5-4' names no CPU: give the lower number first"),
        ("0-", "is no list of CPUs such as 4-5"),
        ("0,,1", "is no list of CPUs"),
        ("0-99999999999", "is no list of CPUs"),
        ("a99", "unknown core 'a99'"),
        ("", "unknown core ''"),
    ],
)
def test_what_is_neither(text: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        parse_pin(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("4-7", "it has no cpu 6-7 to be kept on: it has cpu 0-3 cortex-a53; cpu 4-5 cortex-a72"),
        ("a76", "it has no cortex-a76 to be kept on: it has cpu 0-3 .* Give their numbers"),
    ],
)
def test_what_the_board_has_not(text: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        parse_pin(text).cpus_of(state("rk3399"), "it")


def test_this_machine_is_not_pinned() -> None:
    with open_device(HOST) as device, pytest.raises(UserError, match="taskset"):
        device.pin(Pin(frozenset({0})))


# -- the agent; under qemu-user its CPUs are this machine's


@pytest.fixture
def device() -> Iterator[RpcDevice]:
    with (
        EmulatedBoard(find_core("cortex-a53")) as board,
        connect_place("rpc://pi:9", Place(board.host, board.port)) as device,
    ):
        yield device


@pytest.mark.emulator
def test_all_threads_stay_there(device: RpcDevice, tiny_library: Path, tiny_inputs: Arrays) -> None:
    """Those that there were, and those of the runtime, which would bind itself elsewhere."""
    cpu = max(os.sched_getaffinity(0))
    device.pin(Pin(frozenset({cpu})))
    program = device.load(tiny_library)
    program.take(*tiny_inputs)
    program.time(5)
    found = device.state()
    assert set(found.threads) == {frozenset({cpu})}
    assert {sample.cpu for sample in found.ran} == {cpu}


@pytest.mark.emulator
def test_what_the_kernel_refuses_is_told(device: RpcDevice) -> None:
    before = device.state().mask
    with (
        pytest.raises(DeviceError, match=r"failed while trying: .*CPUs cannot be chosen"),
        device.link.explained("trying"),
    ):
        device.link.session.get_function(PIN)(1023)
    assert device.state().mask == before
    with pytest.raises(UserError, match="has no cpu 4095"):
        device.pin(Pin(frozenset({4095})))
