"""What makes a time measured on a board untrustworthy, told from the board's state before and after."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from targets.board_state import BROKEN_CELSIUS, BoardState, Cpu, Sample, cpu_list
from targets.emulation import is_virtual

FULL_CLOCK = 0.95
"""Of the highest clock: below, the figure is another clock's. A step of cpufreq is about 100 MHz."""
HOT_CELSIUS = 80.0
"""Where a Raspberry Pi begins to lower its clock (its documentation, frequency management)."""
OTHERS_CPUS = 0.1
"""CPU time spent on other programs, per second: a tenth of a CPU can move a median by some per cent."""
LOADED = 0.5
"""Runnable tasks, on average over a minute, before we begin; where the board hides who used its CPUs."""
COOL = "let it cool down, give it a heat sink or a fan, and measure again"

# vcgencmd get_throttled (raspberrypi.com, documentation/computers/os.html): bits 0 to 3 are what is now, bits
# 16 to 19 what has been since the start.
FIRMWARE_FLAGS = ("under-voltage", "the clock is capped", "throttled", "the soft limit of temperature")


@dataclass(frozen=True)
class Warning:
    """Something the reader of a figure must know.

    Attributes:
        reason: what is so, and where.
        remedy: what to do about it.
        unreliable: whether the figure must not be quoted; else it is good, for what `reason` says.
    """

    reason: str
    remedy: str
    unreliable: bool = True


def board_warnings(before: BoardState, after: BoardState) -> tuple[Warning, ...]:
    """All there is to say, the weightiest first. `after` has the samples taken between the two."""
    found = [warning for check in _CHECKS for warning in check(before, after)]
    return tuple(sorted(found, key=lambda warning: not warning.unreliable))


def _virtual(before: BoardState, _: BoardState) -> Iterator[Warning]:
    if is_virtual(before):
        yield Warning(
            f"the board is a virtual machine ({before.model}), perhaps an emulated one",
            "measure on the machine itself, or estimate with --device emulated:BOARD",
        )


def _governor(_: BoardState, after: BoardState) -> Iterator[Warning]:
    slow = [cpu for cpu in after.allowed if cpu.governor in ("powersave", "conservative")]
    for governor in sorted({cpu.governor or "" for cpu in slow}):
        numbers = [cpu.number for cpu in slow if cpu.governor == governor]
        yield Warning(f"governor is {governor} on cpu {cpu_list(numbers)}", _PERFORMANCE)


def _mixed_mask(_: BoardState, after: BoardState) -> Iterator[Warning]:
    """One thread free to move between clusters is two machines; what ran on one alone is one."""
    if len({cpu.kind for cpu in after.allowed}) < 2:
        return
    ran = _ran_on(after)
    kinds = {cpu.kind for cpu in ran}
    mask = f"the mask {cpu_list(cpu.number for cpu in after.allowed)} covers slow and fast cores"
    fast = cpu_list(cpu.number for cpu in _fastest(after))
    remedy = f"keep it on one cluster: --pin {fast}, or on the board taskset -c {fast} ./run serve ..."
    if len(kinds) == 1:
        yield Warning(
            f"{mask}; all ran on cpu {cpu_list(cpu.number for cpu in ran)}", remedy, unreliable=False
        )
    else:
        yield Warning(f"{mask}, and it ran on both" if ran else mask, remedy)


def _low_clock(_: BoardState, after: BoardState) -> Iterator[Warning]:
    """A clock below what it may be, while it ran."""
    cpus = {cpu.number: cpu for cpu in after.cpus}
    low = [
        f"cpu {sample.cpu} at {_mhz(sample.least)} of {_mhz(cpus[sample.cpu].limit)}"
        for sample in after.ran
        if sample.cpu in cpus and _is_below(sample, cpus[sample.cpu])
    ]
    if low:
        yield Warning(f"the clock was low while it ran: {', '.join(low)}", _PERFORMANCE)


def _limited(before: BoardState, after: BoardState) -> Iterator[Warning]:
    """A limit set below the highest clock: by the user, or, if it came while it ran, by heat."""
    earlier = {cpu.number: cpu.limit for cpu in before.cpus}
    for cpu in _first_of_each_limit(after):
        came = earlier.get(cpu.number) != cpu.limit
        reason = f"cpu {cpu.number} may run at {_mhz(cpu.limit)} only, of {_mhz(cpu.highest)}"
        if came:
            yield Warning(f"{reason}, since it began: throttling", COOL)
        else:
            yield Warning(
                reason,
                f"sudo cpupower frequency-set -u {cpu.highest}kHz; if it comes back, it is heat: cool it",
            )


def _cooling(before: BoardState, after: BoardState) -> Iterator[Warning]:
    """Cooling devices that are CPUs (thermal-cpufreq-0, cpufreq-cpu0) slow down; fans only turn."""
    states = {
        name: max(step, before.cooling.get(name, 0)) for name, step in after.cooling.items() if "cpu" in name
    }
    active = [f"{name} (step {step})" for name, step in states.items() if step > 0]
    if active:
        yield Warning(f"throttling by heat: {', '.join(active)}", COOL)


def _firmware(before: BoardState, after: BoardState) -> Iterator[Warning]:
    if before.throttled is None or after.throttled is None:
        return
    now = before.throttled | after.throttled | (after.throttled & ~before.throttled) >> 16
    flags = [name for bit, name in enumerate(FIRMWARE_FLAGS) if now >> bit & 1]
    if flags:
        yield Warning(
            f"the firmware holds the clock back: {', '.join(flags)}",
            "use the board's own power supply, and cool it; then vcgencmd get_throttled must say 0x0",
        )


def _hot(_: BoardState, after: BoardState) -> Iterator[Warning]:
    hot = [
        f"{name} {value:.0f} °C"
        for name, value in after.celsius.items()
        if HOT_CELSIUS <= value < BROKEN_CELSIUS
    ]
    if hot:
        yield Warning(f"the board is hot: {', '.join(hot)}", COOL, unreliable=False)


def _others(before: BoardState, after: BoardState) -> Iterator[Warning]:
    remedy = "end what else runs there (top shows it), and measure again"
    busy = others_cpus(before, after)
    if busy is not None and busy > OTHERS_CPUS:
        yield Warning(f"other programs used {busy:.1f} CPUs while it ran", remedy)
    elif busy is None and before.load is not None and before.load > LOADED:
        yield Warning(f"the board was busy before it began: load {before.load:.1f}", remedy)


def _unknown_clock(_: BoardState, after: BoardState) -> Iterator[Warning]:
    if all(cpu.highest is None for cpu in after.allowed):
        yield Warning(
            "the board does not tell its clocks, so throttling would go unseen",
            "a kernel with cpufreq (CONFIG_CPU_FREQ) tells them",
            unreliable=False,
        )


def others_cpus(before: BoardState, after: BoardState) -> float | None:
    """How many CPUs other programs kept busy between the states, on average; None where it is not told."""
    figures = (before.busy_ticks, after.busy_ticks, before.own_ticks, after.own_ticks)
    total = (after.total_ticks or 0) - (before.total_ticks or 0)
    if any(figure is None for figure in figures) or total <= 0:
        return None
    busy_before, busy_after, own_before, own_after = (figure or 0 for figure in figures)
    others = (busy_after - busy_before) - (own_after - own_before)
    return max(0.0, others / total * len(after.cpus))


_Check = Callable[[BoardState, BoardState], Iterator[Warning]]
_CHECKS: tuple[_Check, ...] = (
    _virtual,
    _cooling,
    _firmware,
    _limited,
    _low_clock,
    _governor,
    _mixed_mask,
    _others,
    _hot,
    _unknown_clock,
)

_PERFORMANCE = "sudo cpupower frequency-set -g performance"


def _ran_on(state: BoardState) -> list[Cpu]:
    numbers = {sample.cpu for sample in state.ran}
    return [cpu for cpu in state.cpus if cpu.number in numbers]


def _fastest(state: BoardState) -> list[Cpu]:
    """The allowed CPUs of the highest clock."""
    top = max(cpu.highest or 0 for cpu in state.allowed)
    return [cpu for cpu in state.allowed if (cpu.highest or 0) == top]


def _is_below(sample: Sample, cpu: Cpu) -> bool:
    return 0 < sample.least < FULL_CLOCK * (cpu.limit or cpu.highest or 0)


def _first_of_each_limit(state: BoardState) -> list[Cpu]:
    """One CPU for each limit below the highest clock: a cluster shares one."""
    found: dict[tuple[int, int], Cpu] = {}
    for cpu in state.allowed:
        if cpu.limit is not None and cpu.highest is not None and cpu.limit < FULL_CLOCK * cpu.highest:
            found.setdefault((cpu.limit, cpu.highest), cpu)
    return list(found.values())


def _mhz(khz: int | None) -> str:
    return f"{(khz or 0) / 1000:.0f} MHz"
