"""Measurements as tables for people; the figures come ready from the report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from rich.markup import escape

from compile.cli.show import Parts, make_table
from targets.board_state import cpu_list

if TYPE_CHECKING:
    from compile.measure_bundle import MeasuredReport
    from targets.board_state import BoardState, Cpu

UNTOLD = "not told"
ZONES = 4
"""Thermal zones in the table; a phone has dozens, which --json has all."""

Describe = Callable[["Cpu"], str]


def measured(found: MeasuredReport) -> Parts:
    """The latency; then the board before and after; then what is to be said against the figure."""
    yield _latency(found)
    yield _times(found)
    yield ""
    yield _board(found.before, found.after)
    yield ""
    for warning in found.warnings:
        word = "unreliable" if warning.unreliable else "note"
        yield f"{word}: {escape(warning.reason)}\n  {escape(warning.remedy)}"
    if not found.warnings:
        yield "nothing was found that speaks against the figure (docs/measuring.md)"


def board_cells(state: BoardState) -> tuple[str, str, str]:
    """Clock, governor and temperature."""
    return _by_cpu(state, _clock), _by_cpu(state, _governor), _temperature(state)


def _latency(found: MeasuredReport) -> str:
    model = f"{found.after.model}, " if found.after.model else ""
    figure = f"{found.device} ({escape(model + found.description)}): measured {_ms(found, 50)} ms"
    return f"{figure}, unreliable: the reasons are below" if found.unreliable else figure


def _ms(found: MeasuredReport, part: int) -> str:
    """Four digits of a percentile."""
    value = found.milliseconds(part)
    return f"{value:.{1 if value >= 100 else 2 if value >= 10 else 3}f}"


def _times(found: MeasuredReport) -> object:
    columns = ("p10 ms", "p50 ms", "p90 ms", "GFLOP/s", "inferences", "warm-up", "median known to")
    table = make_table("", *columns, right=columns)
    error = found.measurement.median_error
    table.add_row(
        "measured, unreliable" if found.unreliable else "measured",
        *(_ms(found, part) for part in (10, 50, 90)),
        f"{found.gflops:.1f}",
        str(len(found.measurement.seconds)),
        str(found.measurement.warm_up),
        f"{error:.2%}" if found.measurement.stable else f"{error:.1%}, not stable",
    )
    return table


def _board(before: BoardState, after: BoardState) -> object:
    table = make_table("board", "before", "after")
    table.add_row("threads", *(str(len(state.threads) or UNTOLD) for state in (before, after)))
    table.add_row("CPU mask", *(_mask(state) for state in (before, after)))
    table.add_row("governor", *(_by_cpu(state, _governor) for state in (before, after)))
    table.add_row("clock now, of highest", *(_by_cpu(state, _clock) for state in (before, after)))
    table.add_row("clock seen between inferences", "", _seen(after))
    table.add_row("temperature", *(escape(_temperature(state)) for state in (before, after)))
    table.add_row("load, 1 min", *(_figure(state.load, "{:.2f}") for state in (before, after)))
    memory = (
        None if state.available_kib is None else state.available_kib / 1024 for state in (before, after)
    )
    table.add_row("memory available", *(_figure(mebibytes, "{:.0f} MiB") for mebibytes in memory))
    return table


def _mask(state: BoardState) -> str:
    """Each cluster of the mask, by what its cores are."""
    if not state.mask:
        return UNTOLD
    return _by_cpu(state, lambda cpu: cpu.core or "")


def _by_cpu(state: BoardState, tell: Describe) -> str:
    """What is told of the CPUs of the mask, those of which the same is told together."""
    told: dict[str, list[int]] = {}
    for cpu in state.allowed:
        told.setdefault(tell(cpu), []).append(cpu.number)
    return "; ".join(f"cpu {cpu_list(numbers)} {text}".strip() for text, numbers in told.items()) or UNTOLD


def _governor(cpu: Cpu) -> str:
    return cpu.governor or UNTOLD


def _clock(cpu: Cpu) -> str:
    if cpu.highest is None:
        return UNTOLD
    return f"{_mhz(cpu.current)} of {_mhz(cpu.highest)} MHz"


def _seen(state: BoardState) -> str:
    seen = (
        f"cpu {sample.cpu} {_mhz(sample.least)} to {_mhz(sample.most)} MHz"
        if sample.least
        else f"cpu {sample.cpu} {UNTOLD}"
        for sample in state.ran
    )
    return "; ".join(seen) or UNTOLD


def _temperature(state: BoardState) -> str:
    shown: Sequence[str] = [f"{name} {value:.0f} °C" for name, value in state.cpu_celsius.items()]
    more = f"; {len(shown) - ZONES} more" if len(shown) > ZONES else ""
    return ("; ".join(shown[:ZONES]) + more) or UNTOLD


def _mhz(khz: int | None) -> str:
    return "?" if khz is None else f"{khz / 1000:.0f}"


def _figure(value: float | None, form: str) -> str:
    return UNTOLD if value is None else form.format(value)
