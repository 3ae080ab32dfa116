"""How far the cycle model is known to be off: held against published latencies by bench/calibration."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from targets.cores import Core, lineage
from targets.emulated.pricing import timing_model
from targets.errors import UserError

CALIBRATION = Path(__file__).with_name("calibration.json")
"""{"format": 1, "cores": {CORE: {"error": 0.15, "rows": [...]}}}: an entry per core that was checked."""
FORMAT = 1


@dataclass(frozen=True)
class Known:
    """A model's known error."""

    error: float
    """Relative: 0.15 is 15% more or less."""
    core: str
    """The core whose published latencies it was held against."""


def known_error(core: Core, file: Path | None = None) -> Known | None:
    """The error of estimates for `core`, as `file` (CALIBRATION) has it; None where it is unknown.

    A core without an entry has that of the nearest one it is like which the same timing model prices: another
    model's error says nothing of its own. Raises UserError when the file is damaged.
    """
    cores = _read(CALIBRATION if file is None else file)
    model = timing_model(core)
    for row in lineage(core):
        if row.name in cores and timing_model(row) == model:
            return Known(cores[row.name], row.name)
    return None


def describe_error(core: Core) -> str:
    """`model error about 15%`, for printing beside an estimate."""
    known = known_error(core)
    if known is None:
        return "model error unknown"
    origin = "" if known.core == core.name else f", that of {known.core}"
    return f"model error about {known.error:.0%}{origin}"


def _read(file: Path) -> dict[str, float]:
    if not file.is_file():
        return {}
    try:
        document: Any = json.loads(file.read_text())
        if document["format"] != FORMAT:
            raise ValueError(f"format {document['format']}, not {FORMAT}")
        return {name: float(entry["error"]) for name, entry in document["cores"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{file} does not hold the model's error ({error!r}): install Armature again"
        ) from error
