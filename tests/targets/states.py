"""States of boards as the agent writes them, for tests.

They are written after the kernel's documentation and the boards' device trees; none was recorded on a board.
"""

from __future__ import annotations

from pathlib import Path

from targets.board_state import BoardState, parse_state

BOARDS = ("rpi4", "rk3399", "phone")


def state_text(board: str, *changes: tuple[str, str]) -> str:
    """The lines of `board`, with each (old, new) of `changes` applied, which must be there."""
    text = (Path(__file__).parent / "board_states" / f"{board}.txt").read_text()
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    return text


def state(board: str, *changes: tuple[str, str]) -> BoardState:
    """The same, parsed."""
    return parse_state(state_text(board, *changes))
