"""Estimates as tables for people; the figures come ready from the reports."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape

from compile.cli.show import Parts, make_table

if TYPE_CHECKING:
    from compile.bench_report import BenchReport, Row
    from targets.emulated.profile import Caches
    from targets.emulated.program import Part, ProgramReport
    from targets.emulated.spec import Emulated

NAME_WIDTH = 41
SUFFIXES = {"kernel": "k", "stride": "s"}
"""Parts of a shape that are no extents, and what is put before their number."""


def bench(found: BenchReport) -> Parts:
    """A line per kernel, the runtime's and the total's; then the model's figures."""
    timed = found.device.ghz is not None
    costs = ("est. cycles", "share", *(("GFLOP/s",) if timed else ()), "peak")
    numbers = ("calls", "MACs", "instr.", *costs, "L1D miss", "L2 miss")
    table = make_table("kernel", "kind", "shape", *numbers, right=numbers, narrow=True)
    for row in (*found.kernels, found.runtime, found.total):
        table.add_row(*_bench_cells(found, row, timed), style="bold" if row.kind == "" else None)
    yield table
    total = found.total
    yield _estimated(found.device, found.total_ms, total)
    if found.memory_ms is not None and found.device.board is not None:
        yield (
            f"{_mebibytes(found.memory_bytes)} come from memory, which takes "
            f"{_three_digits(found.memory_ms)} ms at least at {found.device.board.memory_gbs:g} GB/s"
        )
    yield (
        f"{_millions(total.instructions)} instructions, {found.instructions_share(found.kernels_total):.1%} "
        f"in kernels; {_mebibytes(found.weights_bytes)} of weights, "
        f"{_mebibytes(found.peak_activation_bytes)} of activations at their peak"
    )
    files = (f"{name} {_millions(number)}" for name, number in found.runtime_files.items() if number)
    yield f"{found.runtime.name}, instructions by file: {', '.join(files)}"
    yield _model(found.timing, found.caches)


def cores(found: Sequence[BenchReport]) -> Parts:
    """A line per kernel with each core's estimated cycles and per cent of peak, then the totals."""
    first = found[0]
    names = [report.device.core.name.removeprefix("cortex-") for report in found]
    numbers = ("MACs", "instr.", *(part for name in names for part in (name, f"{name} peak")))
    table = make_table("kernel", "kind", "shape", *numbers, right=numbers, narrow=True)
    lines = [(*report.kernels, report.runtime, report.total) for report in found]
    for rows in zip(*lines, strict=True):
        cells = [*_what(rows[0]), _macs(rows[0]), _millions(rows[0].instructions)]
        for report, row in zip(found, rows, strict=True):
            cells += [_millions(row.cycles), _per_cent(report.peak(row))]
        table.add_row(*cells, style="bold" if rows[0].kind == "" else None)
    yield table
    yield f"estimated cycles per inference of one code, compiled for {first.compiled_for}:"
    for report in found:
        yield _estimated(report.device, None, report.total, clock=False)
        yield f"  {_model(report.timing, report.caches)}"
    yield NO_CLOCK


def program(found: ProgramReport, top: int) -> Parts:
    """A line per file, and per hot function or block; then the totals."""
    yield from _parts(found, "file", [*found.files, found.total])
    if top:
        yield ""
        yield from _parts(found, "function, or block (+place)", found.hot[:top])
        if len(found.hot) > top:
            yield f"({len(found.hot) - top} more)"
    yield ""
    if found.repeats:
        few, many = found.repeats
        yield f"per repeat: a run with {many} less a run with {few}; loading does not count"
    else:
        yield "the whole run, loading included: no argument has {repeat}"
    yield f"{_millions(found.total.instructions)} instructions"
    yield _estimated(found.device, found.ms, found.total)
    yield _model(found.timing, found.caches)


def _parts(found: ProgramReport, title: str, parts: Sequence[Part]) -> Parts:
    numbers = ("instr.", "est. cycles", "share", "L1D miss", "L2 miss")
    table = make_table(title, "in", *numbers, right=numbers)
    for part in parts:
        place = Path(part.file).name
        table.add_row(
            escape(_shortened(part.name, FUNCTION_WIDTH)),
            escape(place if place != part.name else ""),
            _millions(part.instructions),
            _millions(part.cycles),
            f"{found.share(part):.1%}",
            _count(part.l1_misses),
            _count(part.l2_misses),
        )
    yield table


NO_CLOCK = (
    "a core has no clock: for milliseconds name a board (--device emulated:rpi4), or one core and --ghz"
)


def _estimated(device: Emulated, ms: float | None, total: Row | Part, clock: bool = True) -> str:
    """The estimate in a line, its error beside it; with `clock`, where there is none, how to get one."""
    from targets.emulated.error import describe_error

    error = describe_error(device.core, device.board)
    split = f"{_millions(total.core_cycles)} core + {_millions(total.memory_cycles)} memory"
    if ms is None:
        line = f"{device.name}: estimated {_millions(total.cycles)} cycles ({error}): {split}"
        return f"{line}\n{NO_CLOCK}" if clock else line
    core_name = f"{device.core.name} " if device.board else ""
    return (
        f"{device.name} ({core_name}at {device.ghz:g} GHz): estimated {_three_digits(ms)} ms ({error}); "
        f"{_millions(total.cycles)} cycles: {split}"
    )


def _model(timing: str, caches: Caches) -> str:
    return (
        f"timing model of {timing}; caches L1D {caches.l1_kib} KiB {caches.l1_ways}-way, "
        f"L2 {caches.l2_kib} KiB {caches.l2_ways}-way; nothing was measured (docs/timing.md)"
    )


def _bench_cells(found: BenchReport, row: Row, timed: bool) -> Iterator[str]:
    yield from _what(row)
    yield str(row.calls) if row.calls else ""
    yield _macs(row)
    yield _millions(row.instructions)
    yield _millions(row.cycles)
    yield f"{found.share(row):.1%}"
    if timed:
        gflops = found.gflops(row)
        yield "-" if gflops is None else f"{gflops:.1f}"
    yield _per_cent(found.peak(row))
    yield _count(row.l1_misses)
    yield _count(row.l2_misses)


def _what(row: Row) -> tuple[str, str, str]:
    return _shortened(row.name.removeprefix("fused_")), row.kind, _shape(row.shape)


def _shape(shape: Mapping[str, int]) -> str:
    """Extents joined, in the order of the manifest's names, as in 112x112x32 k3 s1."""
    extents = "x".join(str(extent) for name, extent in shape.items() if name not in SUFFIXES)
    return " ".join([extents, *(f"{SUFFIXES[name]}{shape[name]}" for name in SUFFIXES if name in shape)])


FUNCTION_WIDTH = 60


def _shortened(name: str, width: int = NAME_WIDTH) -> str:
    """A long name without its middle; --json has it whole."""
    half = (width - 1) // 2
    return name if len(name) <= width else f"{name[:half]}…{name[-half:]}"


def _macs(row: Row) -> str:
    return _millions(row.multiply_adds) if row.multiply_adds else "-"


def _millions(number: float) -> str:
    return f"{number / 1e6:.{1 if number >= 1e8 else 2 if number >= 1e7 else 3}f} M"


def _count(number: float) -> str:
    if number >= 1e6:
        return _millions(number)
    return f"{number / 1e3:.{0 if number >= 1e5 else 1}f} k"


def _three_digits(number: float) -> str:
    return f"{number:.0f}" if number >= 100 else f"{number:.1f}" if number >= 10 else f"{number:.3g}"


def _mebibytes(number: float) -> str:
    return f"{number / 2**20:.1f} MiB"


def _per_cent(part: float | None) -> str:
    return "-" if part is None else f"{part:.0%}"
