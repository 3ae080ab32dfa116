"""How far the cycle model is known to be off: held against published latencies by bench/calibration."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from targets.boards import Board
from targets.cores import Core, lineage
from targets.emulated.pricing import timing_model
from targets.errors import UserError

CALIBRATION = Path(__file__).with_name("calibration.json")
"""{"format": 1, "cores": {CORE: {"error": 0.15, ...}}, "boards": {BOARD: {"error": 0.24}}}: what was
checked. A board is there when its silicon is not the core that it is priced as."""
FORMAT = 1


@dataclass(frozen=True)
class Known:
    """A model's known error."""

    error: float
    """Relative: 0.15 is 15% more or less."""
    of: str
    """The core, or the board, whose published latencies it was held against."""


def known_error(core: Core, board: Board | None = None, file: Path | None = None) -> Known | None:
    """The error of estimates for `core`, on `board`, as `file` (CALIBRATION) has it; None where unknown.

    A core without an entry has that of the nearest one it is like which the same timing model prices: another
    model's error says nothing of its own. Raises UserError when the file is damaged.
    """
    cores, boards = _read(CALIBRATION if file is None else file)
    if board and board.name in boards:
        return Known(boards[board.name], board.name)
    model = timing_model(core)
    for row in lineage(core):
        if row.name in cores and timing_model(row) == model:
            return Known(cores[row.name], row.name)
    return None


def describe_error(core: Core, board: Board | None = None) -> str:
    """`model error about 15%`, for printing beside an estimate."""
    known = known_error(core, board)
    if known is None:
        return "model error unknown"
    origin = "" if known.of in (core.name, board.name if board else "") else f", that of {known.of}"
    return f"model error about {known.error:.0%}{origin}"


def _read(file: Path) -> tuple[dict[str, float], dict[str, float]]:
    """The errors by core and by board."""
    if not file.is_file():
        return {}, {}
    try:
        document: Any = json.loads(file.read_text())
        if document["format"] != FORMAT:
            raise ValueError(f"format {document['format']}, not {FORMAT}")
        cores, boards = (
            {name: float(entry["error"]) for name, entry in document.get(kind, {}).items()}
            for kind in ("cores", "boards")
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{file} does not hold the model's error ({error!r}): install Armature again"
        ) from error
    return cores, boards
