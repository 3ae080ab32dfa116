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
    from targets.board_warnings import Warning

UNTOLD = "not told"
ZONES = 4
"""Thermal zones in the table; a phone has dozens, which --json has all."""

FIGURES = ("p10 ms", "p50 ms", "p90 ms", "GFLOP/s", "inferences", "warm-up", "median known to")

Describe = Callable[["Cpu"], str]


def measured(found: MeasuredReport) -> Parts:
    """The latency; then the board before and after; then what is to be said against the figure."""
    yield _latency(found)
    yield _times(found)
    yield ""
    yield _board(found.before, found.after)
    yield ""
    yield from _warnings([found])


def compared(reports: Sequence[MeasuredReport]) -> Parts:
    """What was measured in turns: a row for each, with its ratio to the first; then as `measured`."""
    first = reports[0]
    told = ", unreliable: the reasons are below" if any(found.unreliable for found in reports) else ""
    yield f"{_where(first)}: {len(reports)} bundles measured in turns{told}"
    yield _compared(reports)
    yield ""
    yield _board(first.before, first.after)
    yield ""
    yield from _warnings(reports)


def _warnings(reports: Sequence[MeasuredReport]) -> Parts:
    """Each once, with the bundles that it is about where it is not about all."""
    about: dict[Warning, list[str]] = {}
    for found in reports:
        for warning in found.warnings:
            about.setdefault(warning, []).append(str(found.bundle))
    for warning in sorted(about, key=lambda warning: not warning.unreliable):
        word = "unreliable" if warning.unreliable else "note"
        names = f"{', '.join(about[warning])}: " if len(about[warning]) < len(reports) else ""
        yield f"{word}: {escape(names + warning.reason)}\n  {escape(warning.remedy)}"
    if not about:
        yield "nothing was found that speaks against the figure (docs/measuring.md)"


def board_cells(state: BoardState) -> tuple[str, str, str]:
    """Clock, governor and temperature."""
    return _by_cpu(state, _clock), _by_cpu(state, _governor), _temperature(state)


def _latency(found: MeasuredReport) -> str:
    figure = f"{_where(found)}: measured {_ms(found, 50)} ms"
    return f"{figure}, unreliable: the reasons are below" if found.unreliable else figure


def _where(found: MeasuredReport) -> str:
    model = f"{found.after.model}, " if found.after.model else ""
    return f"{found.device} ({escape(model + found.description)})"


def _ms(found: MeasuredReport, part: int) -> str:
    """Four digits of a percentile."""
    value = found.milliseconds(part)
    return f"{value:.{1 if value >= 100 else 2 if value >= 10 else 3}f}"


def _times(found: MeasuredReport) -> object:
    table = make_table("", *FIGURES, right=FIGURES)
    table.add_row(_basis(found), *_figures(found))
    return table


def _compared(reports: Sequence[MeasuredReport]) -> object:
    ratios = ("to the first", "p10 to p90", "turns")
    table = make_table("bundle", "", *ratios, *FIGURES, right=(*ratios, *FIGURES))
    for found in reports:
        to_first = found.ratio_to(reports[0])
        table.add_row(
            escape(str(found.bundle)),
            _basis(found),
            f"{to_first.median:.3f}",
            f"{to_first.p10:.3f} to {to_first.p90:.3f}",
            str(to_first.turns),
            *_figures(found),
        )
    return table


def _basis(found: MeasuredReport) -> str:
    return "measured, unreliable" if found.unreliable else "measured"


def _figures(found: MeasuredReport) -> tuple[str, ...]:
    """The cells under FIGURES."""
    error = found.measurement.median_error
    return (
        *(_ms(found, part) for part in (10, 50, 90)),
        f"{found.gflops:.1f}",
        str(len(found.measurement.seconds)),
        str(found.measurement.warm_up),
        f"{error:.2%}" if found.measurement.stable else f"{error:.1%}, not stable",
    )


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
