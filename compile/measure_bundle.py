"""What inferences of bundles take on a board, measured; an emulated board is refused."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from compile.bundle import Bundle
from compile.cool_down import Tell, cool_down
from compile.measure import Measurement, Ratio, Rule, measure_in_turns, ratio, timing_warnings
from compile.source import random_inputs
from targets.board_state import BoardState, cpu_list
from targets.board_warnings import Warning, board_warnings, others_cpus
from targets.device import Device, Program, require_platform
from targets.emulation import why_emulated
from targets.errors import UserError
from targets.pin import Pin
from targets.user_boards import find_user_board


@dataclass(frozen=True)
class MeasuredReport:
    """A measurement and the board it was made on."""

    bundle: Path
    compiled_for: str
    device: str
    description: str
    multiply_adds: int
    measurement: Measurement
    before: BoardState
    """After the warm-up."""
    after: BoardState
    """With what was seen between the inferences."""
    beginning: tuple[Warning, ...] = ()
    """What was wrong before the warm-up."""

    @property
    def warnings(self) -> tuple[Warning, ...]:
        """All that a reader of the figure must know, the weightiest first."""
        found = (
            *timing_warnings(self.measurement),
            *self.beginning,
            *board_warnings(self.before, self.after),
            *_other_core(self.compiled_for, self.after),
        )
        return tuple(sorted(found, key=lambda warning: not warning.unreliable))

    @property
    def unreliable(self) -> bool:
        """Whether the figure must not be quoted."""
        return any(warning.unreliable for warning in self.warnings)

    def ratio_to(self, other: MeasuredReport) -> Ratio:
        """To one that was measured in turns with it."""
        return ratio(self.measurement, other.measurement)

    def milliseconds(self, part: float) -> float:
        """The latency below which `part` per cent of the inferences were."""
        return self.measurement.percentile(part) * 1e3

    @property
    def gflops(self) -> float:
        """Two operations for each multiply-add, over the median."""
        return 2 * self.multiply_adds / self.measurement.percentile(50) / 1e9

    def to_json(self) -> dict[str, Any]:
        """The report, JSON-ready."""
        return {
            "bundle": str(self.bundle),
            "compiled_for": self.compiled_for,
            "device": self.device,
            "description": self.description,
            "basis": "measured",
            "unreliable": self.unreliable,
            "milliseconds": {f"p{part}": self.milliseconds(part) for part in (10, 50, 90)},
            "gflops": self.gflops,
            "inferences": len(self.measurement.seconds),
            "warm_up": self.measurement.warm_up,
            "stable": self.measurement.stable,
            "median_error": self.measurement.median_error,
            "spread": self.measurement.spread,
            "drift": self.measurement.drift,
            "threads": len(self.after.threads) or None,
            "cpu_mask": cpu_list(self.after.mask) or None,
            "others_cpus": others_cpus(self.before, self.after),
            "ran": [asdict(sample) for sample in self.after.ran],
            "warnings": [asdict(warning) for warning in self.warnings],
            "before": _state(self.before),
            "after": _state(self.after),
        }


def measure_bundles(
    bundles: Sequence[Bundle],
    device_spec: str,
    rule: Rule | None = None,
    pin: Pin | None = None,
    governor: str | None = None,
    tell: Tell = lambda _: None,
) -> tuple[MeasuredReport, ...]:
    """Time inferences of the bundles, in turns, on the board `device_spec`, for random inputs that are always
    the same.

    They run on the CPUs `pin`, or else on those that boards.toml says; `governor` is set there meanwhile.
    `tell` hears what is waited for.
    Raises UserError when the board is emulated, its CPU lacks what a bundle needs, or `device_spec` is
    wrong; DeviceError when the board fails.
    """
    mine = find_user_board(device_spec)
    pin = pin or (mine.pin if mine else None)
    for bundle in bundles:
        require_platform(device_spec, bundle.platform)
    with bundles[0].opened(device_spec) as device:
        why = why_emulated(device.state())
        if why is not None:
            raise UserError(
                f"{device.spec} is an emulated board ({why}): its time says nothing of silicon.\n"
                f"For an estimate: armature bench {bundles[0].path} --device emulated:{bundles[0].core}"
            )
        if pin is not None:
            device.pin(pin)
        if governor is not None:
            device.set_governor(governor)
        return measure_all_on(device, [(bundle, bundle.load_on(device)) for bundle in bundles], rule, tell)


def measure_on(device: Device, program: Program, bundle: Bundle, rule: Rule) -> MeasuredReport:
    """The same for a loaded `bundle`, whatever runs it: for a caller who knows what the board is."""
    return measure_all_on(device, [(bundle, program)], rule)[0]


def measure_all_on(
    device: Device,
    loaded: Sequence[tuple[Bundle, Program]],
    rule: Rule | None = None,
    tell: Tell = lambda _: None,
) -> tuple[MeasuredReport, ...]:
    """The same for several, in turns."""
    rule = rule or Rule()
    for bundle, program in loaded:
        (drawn,) = random_inputs(bundle.inputs, 1)
        program.take(*drawn)
    beginning = cool_down(device.state, rule, tell)
    states: list[BoardState] = []
    found = measure_in_turns(
        [program.time for _, program in loaded], rule, warm=lambda: states.append(device.state())
    )
    after = device.state()
    return tuple(
        MeasuredReport(
            bundle=bundle.path,
            compiled_for=bundle.core,
            device=device.spec,
            description=device.description,
            multiply_adds=bundle.manifest["multiply_adds"],
            measurement=measurement,
            before=states[0],
            after=after,
            beginning=beginning,
        )
        for (bundle, _), measurement in zip(loaded, found, strict=True)
    )


def compared_json(reports: Sequence[MeasuredReport]) -> dict[str, Any]:
    """Reports of bundles that were measured in turns, each with its ratio to the first, JSON-ready."""
    rows = [report.to_json() | {"ratio": asdict(report.ratio_to(reports[0]))} for report in reports]
    return {"device": reports[0].device, "basis": "measured", "bundles": rows}


def _other_core(compiled_for: str, state: BoardState) -> Iterator[Warning]:
    """The code's core and the CPUs' differ: the figure is true, and not what the board can do."""
    ran = {sample.cpu for sample in state.ran}
    others = [cpu for cpu in state.cpus if cpu.number in ran and cpu.core not in (None, compiled_for)]
    for core in sorted({cpu.core for cpu in others if cpu.core is not None}):
        numbers = cpu_list(cpu.number for cpu in others if cpu.core == core)
        yield Warning(
            f"compiled for {compiled_for}, but cpu {numbers}, which ran it, is a {core}",
            f"compile it with --cpu {core} for the best that the board can do",
            unreliable=False,
        )


def _state(state: BoardState) -> dict[str, Any]:
    """What a reader wants of a state."""
    return {
        "model": state.model,
        "cpus": [asdict(cpu) for cpu in state.cpus],
        "thread_masks": [cpu_list(mask) for mask in state.threads],
        "celsius": dict(state.celsius),
        "cooling": dict(state.cooling),
        "throttled": state.throttled,
        "load": state.load,
        "available_kib": state.available_kib,
    }
