"""Which boards work, and which are out: one that fails is left alone for a while, and then asked again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from targets.place import Place

STRIKES = 2
"""Failures in a row that put a board out although it still answers."""
GROWTH = 2.0
"""Each time it goes out again without having measured anything, it stays out so much longer."""
LONGEST_PAUSE = 300.0


@dataclass(frozen=True)
class BoardStatus:
    """A board as the user is told of it."""

    name: str
    is_held: bool
    """Whether it has a session of ours."""
    reason: str = ""
    """Why it is out; empty for one that is not."""

    @property
    def is_out(self) -> bool:
        """Whether nothing is measured on it now."""
        return bool(self.reason)


@dataclass
class _Board:
    place: Place
    strikes: int = 0
    pauses: int = 0
    reason: str = ""
    until: float = 0.0
    is_unfit: bool = False


class BoardHealth:
    """What is known of each board, by where it listens. For use by several threads."""

    def __init__(self, first_pause: float) -> None:
        self._first_pause = first_pause
        self._boards: dict[str, _Board] = {}
        self._held: set[str] = set()
        self._lock = threading.Lock()
        self._without_since: float | None = None
        self._note = ""

    @property
    def boards(self) -> tuple[BoardStatus, ...]:
        """All that were seen, in the order of their coming."""
        with self._lock:
            return tuple(
                BoardStatus(name, name in self._held, board.reason) for name, board in self._boards.items()
            )

    @property
    def troubles(self) -> str:
        """Why nothing is in use."""
        with self._lock:
            found = [f"{name}: {board.reason}" for name, board in self._boards.items() if board.reason]
            return "; ".join([*found, *([self._note] if self._note else [])])

    @property
    def seconds_without(self) -> float:
        """For how long no board has been in use."""
        with self._lock:
            if self._held or self._without_since is None:
                return 0.0
            return time.monotonic() - self._without_since

    @property
    def held(self) -> int:
        """How many boards are in use."""
        return len(self._held)

    def is_held(self, place: Place) -> bool:
        """Whether the board has a session of ours."""
        with self._lock:
            return str(place) in self._held

    def is_out(self, place: Place) -> bool:
        """Whether the board is to be left alone."""
        with self._lock:
            return bool(self._board(place).reason)

    def wants_board(self) -> None:
        """A process is ready for a board: from now on the lack of one counts."""
        with self._lock:
            if self._without_since is None:
                self._without_since = time.monotonic()

    def note(self, trouble: str) -> None:
        """There is no board to be had, and not for a board's fault."""
        with self._lock:
            self._note = trouble

    def takes(self, place: Place) -> None:
        """The board has a session of ours."""
        with self._lock:
            self._board(place).reason = self._note = ""
            self._held.add(str(place))

    def leaves(self, place: Place) -> None:
        """Our session with the board is over."""
        with self._lock:
            self._held.discard(str(place))
            if not self._held:
                self._without_since = time.monotonic()

    def did_well(self, place: Place) -> None:
        """The board measured something."""
        with self._lock:
            board = self._board(place)
            board.strikes = board.pauses = 0

    def failed(self, place: Place, reason: str, *, answers: bool) -> None:
        """The board failed. One that does not even answer is out at once."""
        with self._lock:
            board = self._board(place)
            board.strikes += 1
            if not answers or board.strikes >= STRIKES:
                self._put_out(board, reason)

    def is_unfit(self, place: Place, reason: str) -> None:
        """The board is not of the kind that is measured on, and will not be."""
        with self._lock:
            board = self._board(place)
            board.reason, board.is_unfit = reason, True

    def try_again(self, answers: Callable[[Place], bool]) -> None:
        """Ask the boards whose pause is over; those that answer are in again."""
        now = time.monotonic()
        with self._lock:
            due = [
                each
                for each in self._boards.values()
                if each.reason and not each.is_unfit and now >= each.until
            ]
        for board in due:
            back = answers(board.place)
            with self._lock:
                if back:
                    board.reason = ""
                    board.strikes = STRIKES - 1  # on probation: the next failure puts it out again
                elif board.reason:
                    self._put_out(board, board.reason)

    def _put_out(self, board: _Board, reason: str) -> None:
        pause = min(LONGEST_PAUSE, self._first_pause * GROWTH**board.pauses)
        board.pauses += 1
        board.reason, board.until = reason, time.monotonic() + pause

    def _board(self, place: Place) -> _Board:
        return self._boards.setdefault(str(place), _Board(place))
