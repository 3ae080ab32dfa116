"""What a board tells of itself, and what that means for a time measured there."""

from __future__ import annotations

import platform
import shutil
from pathlib import Path

import pytest

from targets.board_state import BoardState, cpu_list, cpu_set, parse_state
from targets.board_warnings import board_warnings, others_cpus
from targets.cores import find_core
from targets.device import open_device
from targets.emulated.board import EmulatedBoard, find_sysroot
from targets.emulation import why_emulated
from targets.parts import core_name, core_of_midr
from tests.targets.states import BOARDS, state, state_text

GOVERNOR = "cpufreq/scaling_governor"


def reasons(before: BoardState, after: BoardState | None = None, unreliable: bool = True) -> list[str]:
    found = board_warnings(before, after or before)
    return [warning.reason for warning in found if warning.unreliable == unreliable]


# -- parsing


def test_raspberry_pi() -> None:
    found = state("rpi4")
    assert found.model == "Raspberry Pi 4 Model B Rev 1.4"
    assert [cpu.number for cpu in found.cpus] == [0, 1, 2, 3]
    for cpu in found.cpus:
        assert (cpu.core, cpu.governor) == ("cortex-a72", "ondemand")
        assert (cpu.current, cpu.limit, cpu.lowest, cpu.highest) == (1800000, 1800000, 600000, 1800000)
    assert found.threads == (frozenset({0, 1, 2, 3}),)
    assert found.celsius == {"cpu-thermal": 52.582}
    assert found.cooling == {"rpi-poe-fan": 2}
    assert (found.throttled, found.load, found.available_kib) == (0, 0.12, 3391284)
    assert (found.busy_ticks, found.own_ticks, found.total_ticks) == (2040, 200, 92340)
    assert [(sample.cpu, sample.times, sample.least) for sample in found.ran] == [(2, 61, 1800000)]


def test_big_little() -> None:
    found = state("rk3399")
    assert [cpu.core for cpu in found.cpus] == ["cortex-a53"] * 4 + ["cortex-a72"] * 2
    assert len({cpu.kind for cpu in found.cpus}) == 2
    assert found.cooling == {"thermal-cpufreq-0": 0, "thermal-cpufreq-1": 0, "thermal-devfreq-0": 0}


def test_phone_hides_much() -> None:
    """No MIDR, no /proc/stat, no load; zones that share a name, and one that is off."""
    found = state("phone")
    assert [cpu.core for cpu in found.cpus] == ["cortex-a55"] * 4 + ["cortex-a76"] * 4
    assert found.mask == {7}
    assert found.own_ticks == 519
    assert (found.model, found.load, found.busy_ticks, found.throttled) == (None, None, None, None)
    assert found.celsius["cpu-1-0-usr"] == 47.7
    assert found.celsius["cpu-1-0-usr-2"] == 48.1


@pytest.mark.parametrize(
    "text", ["", "\n\n", "ran 1 x", "nonsense", "/proc/loadavg", "/proc/stat cpu", "/proc/self/stat"]
)
def test_a_board_may_tell_nothing(text: str) -> None:
    found = parse_state(text)
    assert (found.cpus, found.threads, found.load) == ((), (), None)
    assert why_emulated(found) is None
    assert reasons(found) == []


@pytest.mark.parametrize("text", ["0", "0-3", "0-3,6", "1,3,5-7", ""])
def test_lists_of_cpus(text: str) -> None:
    assert cpu_list(cpu_set(text)) == text


@pytest.mark.parametrize(
    ("midr", "name"), [(0x410FD083, "cortex-a72"), (0x411FD050, "cortex-a55"), (0x610F0220, "0x61:0x022")]
)
def test_parts(midr: int, name: str) -> None:
    assert core_of_midr(midr) == name


def test_parts_are_cores_of_the_table() -> None:
    for part in range(0x1000):
        for implementer in (0x41, 0x51):
            name = core_name(implementer, part)
            assert name.startswith("0x") or find_core(name).name == name


# -- warnings


@pytest.mark.parametrize("board", ["rpi4", "phone"])
def test_a_quiet_board_is_trusted(board: str) -> None:
    assert board_warnings(state(board), state(board)) == ()


def test_powersave() -> None:
    found = board_warnings(state("rpi4"), state("rpi4", ("ondemand", "powersave")))
    assert [warning.reason for warning in found] == ["governor is powersave on cpu 0-3"]
    assert found[0].remedy == "sudo cpupower frequency-set -g performance"


def test_a_governor_outside_of_the_mask_does_not_matter() -> None:
    after = state("phone", (f"cpu0/{GOVERNOR} schedutil", f"cpu0/{GOVERNOR} powersave"))
    assert reasons(after) == []


def test_a_mask_over_slow_and_fast_cores() -> None:
    assert reasons(state("rk3399")) == ["the mask 0-5 covers slow and fast cores, and it ran on both"]
    assert "taskset -c 4-5" in board_warnings(state("rk3399"), state("rk3399"))[0].remedy
    steady = state("rk3399", ("ran 1 3 1416000 1416000\n", ""))
    assert reasons(steady) == []
    assert reasons(steady, unreliable=False) == ["the mask 0-5 covers slow and fast cores; all ran on cpu 4"]
    pinned = state("rk3399", ("list:\t0-5", "list:\t4-5"), ("ran 1 3 1416000 1416000\n", ""))
    assert board_warnings(pinned, pinned) == ()


def test_a_clock_that_is_low_while_it_runs() -> None:
    after = state("rpi4", ("ran 2 61 1800000", "ran 2 61 600000"))
    assert reasons(after) == ["the clock was low while it ran: cpu 2 at 600 MHz of 1800 MHz"]
    assert reasons(state("rpi4", ("ran 2 61 1800000", "ran 2 61 1750000"))) == []


def test_a_clock_that_falls_after_it_ran_is_no_matter() -> None:
    assert reasons(state("rpi4", ("scaling_cur_freq 1800000", "scaling_cur_freq 600000"))) == []


def test_a_limit_that_came_is_throttling_and_one_that_was_is_told() -> None:
    limited = state(
        "rpi4",
        ("scaling_max_freq 1800000", "scaling_max_freq 1500000"),
        ("1800000 1800000\n", "1500000 1500000\n"),
    )
    assert reasons(state("rpi4"), limited) == [
        "cpu 0 may run at 1500 MHz only, of 1800 MHz, since it began: throttling"
    ]
    assert reasons(limited) == ["cpu 0 may run at 1500 MHz only, of 1800 MHz"]


def test_cooling_of_cpus_is_throttling_and_a_fan_is_not() -> None:
    assert reasons(state("rpi4")) == []
    hot = state("phone", ("cooling_device0/cur_state 0", "cooling_device0/cur_state 3"))
    assert reasons(state("phone"), hot) == ["throttling by heat: thermal-cpufreq-7 (step 3)"]
    assert reasons(hot, state("phone")) == ["throttling by heat: thermal-cpufreq-7 (step 3)"]


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("0", "50005", "under-voltage, throttled"),
        ("0", "80000", "the soft limit of temperature"),
        ("50000", "50000", None),  # long ago
        ("20000", "20002", "the clock is capped"),
    ],
)
def test_a_raspberry_pis_firmware(before: str, after: str, said: str | None) -> None:
    states = [state("rpi4", ("get_throttled 0", f"get_throttled {value}")) for value in (before, after)]
    expected = [f"the firmware holds the clock back: {said}"] if said else []
    assert reasons(*states) == expected


def test_heat_without_throttling_is_a_note() -> None:
    hot = state("rpi4", ("temp 52582", "temp 81000"))
    assert reasons(hot) == []
    assert reasons(hot, unreliable=False) == ["the board is hot: cpu-thermal 81 °C"]


def test_load_of_others_is_what_is_not_ours() -> None:
    later = ("cpu  1200 0 800 90000", "cpu  2600 0 800 92600"), ("0 0 0 180 20", "0 0 0 1180 20")
    assert others_cpus(state("rpi4"), state("rpi4", *later)) == pytest.approx(
        0.4
    )  # 400 of 4000 ticks, 4 CPUs
    assert reasons(state("rpi4"), state("rpi4", *later)) == ["other programs used 0.4 CPUs while it ran"]
    ours = ("cpu  1200 0 800 90000", "cpu  2200 0 800 93000"), ("0 0 0 180 20", "0 0 0 1180 20")
    assert others_cpus(state("rpi4"), state("rpi4", *ours)) == 0


def test_load_is_taken_where_the_board_hides_the_rest() -> None:
    busy = parse_state(state_text("phone") + "/proc/loadavg 3.10 2.00 1.00 2/900 77\n")
    assert reasons(busy) == ["the board was busy before it began: load 3.1"]


def test_a_board_without_clocks_is_told() -> None:
    bare = parse_state("/sys/devices/system/cpu/online 0-1\n")
    assert reasons(bare) == []
    assert "does not tell its clocks" in reasons(bare, unreliable=False)[0]


# -- emulators


@pytest.mark.parametrize("board", BOARDS)
def test_a_board_is_no_emulator(board: str) -> None:
    assert why_emulated(state(board)) is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ((("kernel_program /home/pi/bundle/run 183", "kernel_program /usr/bin/qemu-aarch64 183"),), "qemu"),
        ((("bundle/run 183", "bundle/run 62"),), "ELF machine 62"),
        ((("kernel/arch aarch64", "kernel/arch x86_64"),), "kernel is for x86_64"),
        ((("/proc/loadavg", "/proc/cpuinfo vendor_id\t: GenuineIntel\n/proc/loadavg"),), "an x86's"),
        ((("midr_el1 0x00000000410fd083", "midr_el1 0x00000000000f0510"),), "no implementer"),
        ((("counter_hz", "declared_emulated 1\ncounter_hz"),), "says so"),
        ((("Raspberry Pi 4 Model B Rev 1.4", "linux,dummy-virt"), ("54000000", "62500000")), "62.5 MHz"),
    ],
)
def test_each_sign_of_an_emulator_is_enough(changes: tuple[tuple[str, str], ...], said: str) -> None:
    assert said in (why_emulated(state("rpi4", *changes)) or "")


def test_a_virtual_machine_is_unreliable() -> None:
    virtual = state("rpi4", ("Raspberry Pi 4 Model B Rev 1.4", "linux,dummy-virt"))
    assert why_emulated(virtual) is None
    assert "virtual machine" in reasons(virtual)[0]


# -- the agent


def state_over_rpc(core: str) -> BoardState:
    with EmulatedBoard(find_core(core)) as board, open_device(f"rpc://127.0.0.1:{board.port}") as device:
        return device.state()


@pytest.mark.emulator
def test_the_agent_reads_the_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Pi's files, which qemu-user shows to the agent in place of this machine's."""
    shown = state_text("rpi4")
    for line in shown.splitlines():
        name, _, value = line.partition(" ")
        if name.startswith(("/sys/", "/proc/device-tree")):
            file = tmp_path / name.removeprefix("/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(value + ("\0" if "device-tree" in name else "\n"))
    (tmp_path / "lib").symlink_to(find_sysroot() / "lib")
    monkeypatch.setenv("QEMU_LD_PREFIX", str(tmp_path))
    found = state_over_rpc("cortex-a72")
    expected = parse_state(shown)
    assert found.cpus == expected.cpus
    assert found.celsius == expected.celsius
    assert (found.model, found.cooling, found.throttled) == (expected.model, expected.cooling, 0)
    assert found.mask and found.available_kib and found.total_ticks


@pytest.mark.emulator
@pytest.mark.parametrize("declared", [True, False], ids=["ours", "anyone's"])
def test_an_emulated_agent_is_recognised(declared: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also by itself, where nobody declared it."""
    if not declared:
        monkeypatch.setattr("targets.emulated.board.DECLARED", ())
    found = state_over_rpc("cortex-a53")
    assert found.declared_emulated == declared
    assert "qemu-aarch64 and not the agent" in (why_emulated(found) or "")
    assert shutil.which("qemu-aarch64") == found.kernel_program
    assert found.kernel_arch in (None, platform.machine())
