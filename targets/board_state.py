"""What a board is like while a network is timed, from the lines that the agent writes of it.

The lines are `NAME VALUE`, most of them a file of the kernel and a line of it
(`targets/agent/src/board_state.h`). Whatever a board does not tell is None or empty here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from targets.parts import core_name, core_of_midr

BROKEN_CELSIUS = 150.0
"""A sensor that says so, or more, tells nothing: silicon is switched off before."""

_CPU = "/sys/devices/system/cpu/cpu{}/{}"
_THERMAL = "/sys/class/thermal/{}{}/{}"
_FIRMWARE = "/sys/devices/platform/soc/soc:firmware/get_throttled"
_SAMPLE = re.compile(r"\d+( \d+){3}")
_LOAD = re.compile(r"\d+\.\d+")


@dataclass(frozen=True)
class Cpu:
    """One CPU; clocks in kHz, as cpufreq has them."""

    number: int
    core: str | None
    """The core design, named as in `targets.cores` where the table of parts has it."""
    governor: str | None
    current: int | None
    limit: int | None
    """The highest clock it may have now: the user's limit, or that of heat."""
    lowest: int | None
    highest: int | None
    """What the silicon is run at, at most."""

    @property
    def kind(self) -> tuple[str | None, int | None]:
        """What tells clusters apart: the design and the highest clock."""
        return (self.core, self.highest)


@dataclass(frozen=True)
class Sample:
    """What was seen on one CPU before each inference: how often, and the clocks in kHz (0: not told)."""

    cpu: int
    times: int
    least: int
    most: int


@dataclass(frozen=True)
class BoardState:
    """A board at one moment."""

    model: str | None
    """What the device tree or the firmware calls it."""
    cpus: tuple[Cpu, ...]
    """Those that are online."""
    threads: tuple[frozenset[int], ...]
    """For each thread of the session, the CPUs it may run on."""
    ran: tuple[Sample, ...]
    """Since the state before this one."""
    celsius: Mapping[str, float]
    """The temperature of each zone, by its name."""
    cooling: Mapping[str, int]
    """What holds the board back now, by name of the cooling device: its step, 0 for not at all."""
    throttled: int | None
    """The firmware's flags, on a Raspberry Pi."""
    load: float | None
    """Runnable tasks, over the last minute."""
    busy_ticks: int | None
    """CPU time spent on all that runs, since it started; 100 a second."""
    own_ticks: int | None
    """The session's part of it."""
    total_ticks: int | None
    """Time that all CPUs had."""
    available_kib: int | None
    """Memory."""
    program: str
    """The agent's file, as it is told."""
    kernel_program: str
    """The same, as the kernel has it."""
    kernel_machine: int | None
    """ELF machine of that file."""
    kernel_arch: str | None
    """What `uname -m` says outside of an emulator."""
    x86_cpuinfo: bool
    declared_emulated: bool
    counter_hz: int | None
    folder_free_kib: int | None
    """Where the session's files are."""
    timer_ns: int | None
    """The smallest step of the clock that times are taken by."""

    @cached_property
    def mask(self) -> frozenset[int]:
        """The CPUs that any thread of the session may run on."""
        return frozenset().union(*self.threads)

    @cached_property
    def allowed(self) -> tuple[Cpu, ...]:
        """The CPUs of the mask; all, where it is not told."""
        return tuple(cpu for cpu in self.cpus if cpu.number in self.mask or not self.mask)

    @cached_property
    def cpu_celsius(self) -> Mapping[str, float]:
        """The zones of CPUs; where none is named for them, all."""
        return {name: value for name, value in self.celsius.items() if "cpu" in name} or self.celsius

    @cached_property
    def hottest(self) -> float | None:
        """The highest temperature of these; None where none is told."""
        return max((value for value in self.cpu_celsius.values() if 0 < value < BROKEN_CELSIUS), default=None)


def parse_state(text: str) -> BoardState:
    """The state in what the agent's `armature.board.state` returns. Lines not understood are skipped."""
    facts = _facts(text)
    numbers = sorted(cpu_set(_first(facts, "/sys/devices/system/cpu/online") or ""))
    parts = _parts(facts)
    busy, total = _ticks(_first(facts, "/proc/stat"))
    program = (_first(facts, "kernel_program") or "").rpartition(" ")
    return BoardState(
        model=_first(facts, "/proc/device-tree/model") or _first(facts, "/sys/class/dmi/id/sys_vendor"),
        cpus=tuple(_cpu(facts, number, parts) for number in numbers),
        threads=tuple(cpu_set(value.partition(":")[2]) for value in _matching(facts, "/proc/self/task/")),
        ran=tuple(
            Sample(*map(int, value.split())) for value in facts.get("ran", ()) if _SAMPLE.fullmatch(value)
        ),
        celsius={name: milli / 1000 for name, milli in _thermal(facts, "thermal_zone", "temp")},
        cooling=dict(_thermal(facts, "cooling_device", "cur_state")),
        throttled=_number(_first(facts, _FIRMWARE), 16),
        load=float(load.group()) if (load := _LOAD.match(_first(facts, "/proc/loadavg") or "")) else None,
        busy_ticks=busy,
        own_ticks=_own_ticks(_first(facts, "/proc/self/stat")),
        total_ticks=total,
        available_kib=_number(_first(facts, "/proc/meminfo")),
        program=_first(facts, "program") or "",
        kernel_program=program[0],
        kernel_machine=_number(program[2]),
        kernel_arch=_first(facts, "/proc/sys/kernel/arch"),
        x86_cpuinfo=any(value.startswith("vendor_id") for value in facts.get("/proc/cpuinfo", ())),
        declared_emulated="declared_emulated" in facts,
        counter_hz=_number(_first(facts, "counter_hz")),
        folder_free_kib=_number(_first(facts, "folder_free")),
        timer_ns=_number(_first(facts, "timer_ns")),
    )


def cpu_set(text: str) -> frozenset[int]:
    """The numbers of a list of CPUs as the kernel writes it: `0-3,6`."""
    found: set[int] = set()
    for first, last in re.findall(r"(\d+)(?:-(\d+))?", text):
        found.update(range(int(first), int(last or first) + 1))
    return frozenset(found)


def cpu_list(numbers: Iterable[int]) -> str:
    """The reverse of `cpu_set`."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


Facts = Mapping[str, Sequence[str]]


def _facts(text: str) -> dict[str, list[str]]:
    facts: dict[str, list[str]] = {}
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        facts.setdefault(name, []).append(value.strip())
    return facts


def _first(facts: Facts, name: str) -> str | None:
    return facts[name][0] if name in facts else None


def _matching(facts: Facts, prefix: str) -> list[str]:
    return [value for name, values in facts.items() if name.startswith(prefix) for value in values]


def _number(text: str | None, base: int = 10) -> int | None:
    """The first number in the text."""
    digits = r"(?:0x)?[0-9a-fA-F]+" if base == 16 else r"-?\d+"
    found = re.search(digits, text or "")
    return int(found.group(), base) if found else None


def _cpu(facts: Facts, number: int, parts: Mapping[int, str]) -> Cpu:
    def clock(name: str) -> int | None:
        return _number(_first(facts, _CPU.format(number, f"cpufreq/{name}")))

    midr = _number(_first(facts, _CPU.format(number, "regs/identification/midr_el1")), 16)
    return Cpu(
        number=number,
        core=core_of_midr(midr) if midr is not None else parts.get(number),
        governor=_first(facts, _CPU.format(number, "cpufreq/scaling_governor")),
        current=clock("scaling_cur_freq"),
        limit=clock("scaling_max_freq"),
        lowest=clock("cpuinfo_min_freq"),
        highest=clock("cpuinfo_max_freq"),
    )


def _parts(facts: Facts) -> dict[int, str]:
    """The core of each CPU by its number, from /proc/cpuinfo: the lines of each field, in their order."""
    columns: dict[str, list[int]] = {}
    for value in facts.get("/proc/cpuinfo", ()):
        name, _, number = value.partition(":")
        if re.fullmatch(r"\s*(0x[0-9a-fA-F]+|\d+)\s*", number):
            columns.setdefault(name.strip(), []).append(int(number, 0))
    names = ("processor", "CPU implementer", "CPU part")
    rows = zip(*(columns.get(name, ()) for name in names), strict=False)
    return {processor: core_name(implementer, part) for processor, implementer, part in rows}


def _thermal(facts: Facts, device: str, value: str) -> list[tuple[str, int]]:
    """Name and value of each of the thermal devices; where a name comes again, with its number."""
    found: dict[str, int] = {}
    pattern = re.compile(re.escape(_THERMAL.format(device, "@", value)).replace("@", r"(\d+)"))
    for match in filter(None, map(pattern.fullmatch, facts)):
        name = _first(facts, _THERMAL.format(device, match.group(1), "type")) or device
        reading = _number(_first(facts, match.group()))
        if reading is not None:
            found[f"{name}-{match.group(1)}" if name in found else name] = reading
    return list(found.items())


def _ticks(line: str | None) -> tuple[int | None, int | None]:
    """Busy and total CPU time of the `cpu` line of /proc/stat (proc(5): idle is the 4th, iowait the 5th)."""
    fields = [int(field) for field in re.findall(r"\d+", line or "")][:8]  # guests are within user and nice
    if len(fields) < 5:
        return None, None
    return sum(fields) - fields[3] - fields[4], sum(fields)


def _own_ticks(line: str | None) -> int | None:
    """utime and stime of /proc/self/stat, fields 14 and 15; its second, the name, may hold anything."""
    fields = (line or "").rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12]) if len(fields) > 12 else None
