"""What an agent tells of itself without a session (targets/agent/src/status.h)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from targets.board_state import BoardState, parse_state
from targets.place import Place, ask


@dataclass(frozen=True)
class AgentStatus:
    """An agent at one moment."""

    info: Mapping[str, Any]
    """Versions and features."""
    client: str
    """Who has the board; empty: it is free."""
    busy_seconds: float
    """So long."""
    waiting: int
    sessions: int
    is_drained: bool
    """It takes no more clients, and ends with this session."""
    last_error: str
    """How the last session ended that ended badly; empty: none did."""
    board: BoardState


def ask_status(spec: str, place: Place, request: str = "status") -> AgentStatus:
    """Ask the agent at `place`. Raises DeviceError as `targets.place.ask` does."""
    return parse_status(ask(spec, place, request))


def parse_status(text: str) -> AgentStatus:
    """The lines that an agent answers; what is missing in them is empty or zero."""
    lines = dict(reversed([line.partition(" ")[::2] for line in text.splitlines()]))
    info: Mapping[str, Any] = {}
    with suppress(ValueError):
        found = json.loads(lines.get("info", ""))
        info = found if isinstance(found, dict) else {}
    return AgentStatus(
        info=info,
        client=lines.get("client", ""),
        busy_seconds=_number(lines.get("busy_seconds", "")),
        waiting=int(_number(lines.get("waiting", ""))),
        sessions=int(_number(lines.get("sessions", ""))),
        is_drained="drained" in lines,
        last_error=lines.get("last_error", ""),
        board=parse_state(text),
    )


def _number(text: str) -> float:
    with suppress(ValueError):
        return float(text)
    return 0.0
