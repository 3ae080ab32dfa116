"""Boards of a farm as a table, and as rows for --json."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from compile.cli.show import Parts, make_table
from compile.cli.show_measured import board_cells

if TYPE_CHECKING:
    from targets.farm import Seen


def table(found: Sequence[Seen]) -> Parts:
    """One row a board."""
    if not found:
        yield "no boards: name some in boards.toml (docs/boards.md), or give tracker://HOST:PORT"
        return
    columns = (
        "board",
        "at",
        "core",
        "clock",
        "governor",
        "temperature",
        "state",
        "what it is doing",
        "last error",
    )
    rows = make_table(*columns)
    for seen in found:
        cells = ("", "", "") if seen.board is None else board_cells(seen.board)
        row = (seen.name, seen.place, seen.core, *cells, seen.state, seen.doing, seen.last_error)
        rows.add_row(*(escape(cell) for cell in row))
    yield rows


def rows(found: Sequence[Seen]) -> list[dict[str, Any]]:
    """The same, and what else the agents said."""
    return [_row(seen) for seen in found]


def _row(seen: Seen) -> dict[str, Any]:
    clock, governor, temperature = (None, None, None) if seen.board is None else board_cells(seen.board)
    status = seen.status
    return {
        "board": seen.name,
        "at": seen.place,
        "core": seen.core or None,
        "clock": clock,
        "governor": governor,
        "temperature": temperature,
        "state": seen.state,
        "client": status.client or None if status else None,
        "busy_seconds": status.busy_seconds if status and status.client else None,
        "waiting": status.waiting if status else None,
        "sessions": status.sessions if status else None,
        "agent": dict(status.info) if status else None,
        "last_error": seen.last_error or None,
    }
