"""A tune as it goes, and what came of it: as a table, as lines, and as JSON events."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group
from rich.markup import escape
from rich.table import Table

from compile.cli.show import Parts, make_table
from compile.tuning.units import PER_SECOND, UNITS

if TYPE_CHECKING:
    from compile.tuning.board_health import BoardStatus
    from compile.tuning.tuner import Kernel, Tuner

SECONDS_BETWEEN_LINES = 15.0
MOST_REASONS = 5
"""Reasons of failures that a table which is redrawn has room for."""


def table(tuner: Tuner) -> Group:
    """A line for each kernel, the total, and why candidates failed."""
    return Group(_kernels(tuner), _now(tuner), *map(escape, _failures(tuner)[:MOST_REASONS]))


def plan(tuner: Tuner) -> Parts:
    """What a tune would do."""
    found = make_table("kernel", "shape", "calls", "known", right=("calls", "known"))
    for kernel in tuner.kernels:
        work = kernel.task.workload
        found.add_row(work.kind, str(work), str(kernel.task.all_calls), str(len(kernel.search.figures)))
    yield found
    trials, seconds = tuner.expected()
    yield (
        f"{len(tuner.kernels)} kernels, at most {trials} trials on {tuner.measurer.device}, about "
        f"{_duration(seconds)}; the log is {tuner.log.folder}"
    )


def outcome(tuner: Tuner) -> Parts:
    """Before and after, kernel by kernel."""
    yield _kernels(tuner)
    yield _status(tuner)
    yield from map(escape, _failures(tuner))
    for board in _boards_out(tuner.measurer.boards):
        yield f"out at the end: {board}"
    for record in tuner.unfit:
        yield f"does not fit this version's spaces any more: {record} (armature logs prune)"
    yield f"written to {tuner.log.folder}"


def _kernels(tuner: Tuner) -> Table:
    columns = ("calls", "default", "best", UNITS[tuner.basis], "% of peak", "trials", "failed")
    found = make_table("kernel", "shape", *columns, "", right=columns)
    for kernel in tuner.kernels:
        peak = tuner.peak(kernel)
        found.add_row(
            kernel.task.workload.kind,
            str(kernel.task.workload),
            str(kernel.task.all_calls),
            _spelled(kernel.default_seconds),
            _spelled(kernel.best_seconds),
            _gain(kernel),
            "" if peak is None else f"{100 * peak:.0f}",
            str(kernel.trials),
            str(len(kernel.failures) or ""),
            "done" if kernel.is_done else "…" if kernel.under_way else "",
        )
    return found


def _gain(kernel: Kernel) -> str:
    if not kernel.default_seconds or not kernel.best_seconds:
        return ""
    return f"{100 * (kernel.best_seconds / kernel.default_seconds - 1):+.1f}%"


def _status(tuner: Tuner) -> str:
    total, default = tuner.total_seconds, tuner.default_total_seconds
    parts = [f"{tuner.trials} trials", f"{tuner.known} known before"]
    if tuner.known_failures:
        parts.append(f"{tuner.known_failures} known to fail")
    if total is not None and default is not None:
        gain = 100 * (total / default - 1)
        figures = f"{_spelled(default)} -> {_spelled(total)} {UNITS[tuner.basis]}"
        parts.insert(0, f"kernels {figures} ({gain:+.1f}%), {tuner.basis}")
    left = tuner.seconds_left
    if left is not None:
        parts.append(f"{_duration(left)} left")
    return ", ".join(parts)


def _now(tuner: Tuner) -> str:
    """The total, how many boards are in use, and what became of the others."""
    parts, boards = [_status(tuner)], tuner.measurer.boards
    if tuner.measurer.waiting:
        return f"{parts[0]}, {tuner.measurer.waiting}"
    if boards:
        parts.append(f"boards {sum(board.is_held for board in boards)} of {len(boards)}")
    out = _boards_out(boards)
    if out:
        parts.append(f"{len(out)} out: {'; '.join(out)}")
    return ", ".join(parts)


def _boards_out(boards: Sequence[BoardStatus]) -> list[str]:
    return [f"{board.name} ({board.reason})" for board in boards if board.is_out]


def _failures(tuner: Tuner) -> list[str]:
    """Why candidates failed, the commonest reason first."""
    reasons = Counter(
        f"{kernel.task.workload.kind} {kernel.task.workload}: {reason}"
        for kernel in tuner.kernels
        for reason in kernel.failures
    )
    return [f"failed: {number} x {reason}" for reason, number in reasons.most_common()]


def _spelled(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds * PER_SECOND:.3f}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


class Lines:
    """Tells a tune's total now and then, where nothing can be redrawn."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.last = time.monotonic()
        self.told = [""]

    def __call__(self, tuner: Tuner) -> None:
        """A line, if the last was long ago or something changed about the boards that are out."""
        told = [*_boards_out(tuner.measurer.boards), tuner.measurer.waiting]
        if told != self.told or time.monotonic() - self.last >= SECONDS_BETWEEN_LINES:
            self.told = told
            self.last = time.monotonic()
            self.console.print(_now(tuner), soft_wrap=True)


class Events:
    """A line of JSON for each kernel whose figures changed, and for each board that did."""

    def __init__(self, echo: Callable[[str], None]) -> None:
        self.echo = echo
        self.told: dict[str, tuple[int, float | None]] = {}
        self.boards: dict[str, BoardStatus] = {}
        self.waiting = ""

    def __call__(self, tuner: Tuner) -> None:
        """What is new."""
        for kernel in tuner.kernels:
            state = (kernel.trials, kernel.best_seconds)
            if self.told.get(kernel.task.key) != state:
                self.told[kernel.task.key] = state
                self.echo(json.dumps({"event": "kernel", **_kernel(tuner, kernel)}))
        for board in tuner.measurer.boards:
            if self.boards.get(board.name) != board:
                self.boards[board.name] = board
                self.echo(json.dumps({"event": "board", **asdict(board)}))
        if self.waiting != tuner.measurer.waiting:
            self.waiting = tuner.measurer.waiting
            self.echo(json.dumps({"event": "waiting", "reason": self.waiting}))


def document(tuner: Tuner) -> dict[str, Any]:
    """What came of a tune, JSON-ready."""
    return {
        "core": tuner.core.name,
        "device": tuner.measurer.device,
        "basis": tuner.basis,
        "unit": UNITS[tuner.basis],
        "log": str(tuner.log.folder),
        "trials": tuner.trials,
        "known_before": tuner.known,
        "known_failures": tuner.known_failures,
        "default": _in_units(tuner.default_total_seconds),
        "best": _in_units(tuner.total_seconds),
        "records_that_do_not_fit": tuner.unfit,
        "kernels": [_kernel(tuner, kernel) for kernel in tuner.kernels],
    }


def _kernel(tuner: Tuner, kernel: Kernel) -> dict[str, Any]:
    """One kernel's part of it."""
    work = kernel.task.workload
    return {
        "kernel": kernel.task.key,
        "kind": work.kind,
        "shape": dict(work.shape),
        "calls": kernel.task.calls,
        "default": _in_units(kernel.default_seconds),
        "best": _in_units(kernel.best_seconds),
        "of_peak": tuner.peak(kernel),
        "trials": kernel.trials,
        "failures": kernel.failures,
    }


def _in_units(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * PER_SECOND
