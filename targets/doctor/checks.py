"""What is looked at, in order: a new check is one row of CHECKS, and a function."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median, quantiles

import numpy as np

from targets.agent.sources import agent_build, agent_version, runtime_version
from targets.board_state import BoardState
from targets.board_warnings import board_warnings
from targets.doctor.findings import Finding, Verdict, failed, ok, warning
from targets.doctor.patient import Load, Patient

LEAST_MIB, ENOUGH_MIB = 64, 512
"""Of memory and of disk: what MobileNetV2 needs with some room; what ResNet-101's library and weights do."""
ROUND_TRIPS = 20
SLOW_TRIP = 0.1
"""Seconds: a search asks a few times for each candidate."""
COARSE_NS, USELESS_NS = 1_000, 100_000
"""Steps of a timer: 0.1% of a kernel that takes 1 ms; a tenth of it. A Cortex-A's has 19 to 1000 MHz."""
ERROR = 1e-4
"""Of the trial kernel: sums of 128 products in float32, in any order, are off by a tenth of this at most."""
SPREAD = 0.10
"""Of one kernel's times, from the 10th to the 90th percentile; `bench` refuses more (docs/measuring.md)."""
DRIFT = 0.03
"""From the first third of the load to the last; likewise."""

_NEW_AGENT = "start `run serve` of a bundle compiled with this version there (docs/boards.md)"
_QUIET = "end what else runs there, cool it, set the performance governor (docs/measuring.md)"


@dataclass(frozen=True)
class Check:
    """A row: its name, what it does, and whether an emulator's answer would say nothing of silicon."""

    name: str
    look: Callable[[Patient], Finding]
    needs_silicon: bool = False


def _versions(patient: Patient) -> Finding:
    theirs = tuple(str(patient.info.get(name, "not told")) for name in ("agent", "runtime", "build"))
    ours = (agent_version(), runtime_version(), agent_build())
    said = f"agent {theirs[0]} (build {theirs[2]}), TVM runtime {theirs[1]}"
    if theirs[:2] != ours[:2]:
        return failed(f"{said}; this machine has {ours[0]} and {ours[1]}", _NEW_AGENT)
    if theirs[2] != ours[2]:
        return warning(f"{said}; this machine would build {ours[2]}", _NEW_AGENT)
    return ok(f"{said}, as this machine's")


def _features(patient: Patient) -> Finding:
    has, core = patient.device.features, patient.claimed
    seen = set() if patient.why_emulated else {cpu.core for cpu in patient.state.cpus if cpu.core}
    said = f"{', '.join(sorted(has)) or 'the baseline'}; cores: {', '.join(sorted(seen)) or 'not told'}"
    if core is None:
        if seen:
            return ok(said)
        return warning(f"{said}, and none is claimed", 'say what it is: core = "..." in boards.toml')
    remedy = "claim the core that it has: core in boards.toml, and --cpu (`armature cores`)"
    if lacking := sorted(core.features - has):
        return failed(f"it is said to be a {core.name}, but lacks {', '.join(lacking)}", remedy)
    if seen and core.name not in seen:
        return warning(f"it is said to be a {core.name}, and says itself {', '.join(sorted(seen))}", remedy)
    return ok(f"all of {core.name}: {', '.join(sorted(core.features)) or 'the baseline'}")


def _memory(patient: Patient) -> Finding:
    return _room("memory", patient.state.available_kib, "end what else runs there, or add swap")


def _disk(patient: Patient) -> Finding:
    remedy = "free some where the agent has its sessions (serve --work-dir, or $TMPDIR)"
    return _room("disk", patient.state.folder_free_kib, remedy)


def _room(what: str, kib: int | None, remedy: str) -> Finding:
    if kib is None:
        return warning(f"free {what} is not told", _NEW_AGENT)
    said = f"{kib // 1024} MiB free"
    if kib < LEAST_MIB * 1024:
        return failed(f"{said}, of {LEAST_MIB} needed", remedy)
    if kib < ENOUGH_MIB * 1024:
        return warning(f"{said}: too little for the largest networks", remedy)
    return ok(said)


def _numbers(patient: Patient) -> Finding:
    found, expected = patient.kernel.run(), patient.expected
    error = float(np.max(np.abs(found - expected)) / np.max(np.abs(expected)))
    size = "x".join(map(str, expected.shape))
    if not error <= ERROR:  # NaN is not
        return failed(
            f"a matrix product ({size}) is off by {error:.1e} of its largest value",
            "the board computes wrongly: check its core (--cpu), supply, cooling and clock; else replace it",
        )
    return ok(f"a matrix product ({size}) agrees with NumPy's to {error:.0e}")


def _round_trip(patient: Patient) -> Finding:
    trips = []
    for _ in range(ROUND_TRIPS):
        start = time.monotonic()
        patient.device.round_trip()
        trips.append(time.monotonic() - start)
    said = f"median {1e3 * median(trips):.1f} ms, longest {1e3 * max(trips):.1f} ms of {ROUND_TRIPS}"
    if median(trips) > SLOW_TRIP:
        return warning(
            said, "a nearer network, or cable in place of wireless: uploads and searches wait for it"
        )
    return ok(said)


def _timer(patient: Patient) -> Finding:
    step = patient.state.timer_ns
    if not step:
        return warning("the step of its clock is not told", _NEW_AGENT)
    said, remedy = f"steps of {step} ns", "the kernel uses a slow clock source: see its clocksource (dmesg)"
    if step > USELESS_NS:
        return failed(f"{said}: single kernels cannot be timed", remedy)
    return warning(f"{said}: short kernels are rounded", remedy) if step > COARSE_NS else ok(said)


def _clock(patient: Patient) -> Finding:
    return judge_clock(patient.load)


def judge_clock(load: Load) -> Finding:
    """Clocks, heat, and what else held it back while it computed."""
    seconds = sum(load.seconds)
    said = f"{seconds:.1f} s of load: {_clocks(load.after)}, {_heat(load.before, load.after)}"
    found = board_warnings(load.before, load.after)
    if not found:
        return ok(said)
    reasons = "; ".join(each.reason for each in found)
    verdict = Verdict.FAILED if any(each.unreliable for each in found) else Verdict.WARNING
    return Finding(verdict, f"{said}; {reasons}", "; ".join(dict.fromkeys(each.remedy for each in found)))


def _clocks(state: BoardState) -> str:
    governors = sorted({cpu.governor for cpu in state.allowed if cpu.governor})
    ran = [
        f"cpu {each.cpu} {each.least // 1000} to {each.most // 1000} MHz" for each in state.ran if each.least
    ]
    return ", ".join(ran or ["clock not told"]) + (f" ({', '.join(governors)})" if governors else "")


def _heat(before: BoardState, after: BoardState) -> str:
    hottest = [max(state.celsius.values(), default=None) for state in (before, after)]
    if hottest[0] is None or hottest[1] is None:
        return "temperature not told"
    return f"{hottest[0]:.0f} to {hottest[1]:.0f} °C"


def _repeatability(patient: Patient) -> Finding:
    return judge_times(patient.load)


def judge_times(load: Load) -> Finding:
    """How far the times of one kernel are apart."""
    times = load.seconds[3:] or load.seconds
    if len(times) < 10:
        return warning(f"only {len(times)} calls in that time", "give it longer: --seconds")
    deciles, third = quantiles(times, n=10), len(times) // 3
    spread = (deciles[-1] - deciles[0]) / median(times)
    drift = median(times[-third:]) / median(times[:third]) - 1
    said = (
        f"measured median {1e3 * median(times):.3f} ms of {len(times)} calls, p10 to p90 {spread:.1%}, "
        f"last third {drift:+.1%}"
    )
    return ok(said) if spread <= SPREAD and abs(drift) <= DRIFT else failed(said, _QUIET)


CHECKS = (
    Check("versions", _versions),
    Check("features", _features),
    Check("memory", _memory),
    Check("disk", _disk),
    Check("numbers", _numbers),
    Check("round trip", _round_trip),
    Check("timer", _timer, needs_silicon=True),
    Check("clock", _clock, needs_silicon=True),
    Check("repeatability", _repeatability, needs_silicon=True),
)
