"""Boards held by SSH, offered at a tracker, each by a thread that connects it anew when it lost its link."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Protocol

from targets.device import find_boards
from targets.errors import DeviceError, LostError, UserError
from targets.place import Place
from targets.relay.offer import Offer
from targets.relay.relay import Relay, open_port
from targets.tracker import Tracker

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
"""Seconds before a board is tried again: twice as long each time."""
STOP_SECONDS = 5.0
_TICK = 0.25
_KEY = re.compile(r"[\w.-]{1,63}", re.ASCII)

CONNECTING, FREE, BUSY, DRAINING = "connecting", "free", "busy", "draining"
UNREACHABLE, NO_TRACKER, DRAINED, ENDED = "unreachable", "no tracker", "drained", "ended"
OVER = (DRAINED, ENDED)


class Board(Protocol):
    """A board that is reached by a link of its own, such as `targets.shell.board.ShellBoard`: entered, and
    entered anew when the link was lost.
    """

    @property
    def place(self) -> Place:
        """Where its agent is reached from here, while the context lasts."""

    @property
    def is_up(self) -> bool:
        """Whether it is reached, as far as is known here."""

    def __enter__(self) -> object: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def close(self) -> None:
        """End the link and what runs over it."""


@dataclass(frozen=True)
class Registered:
    """A board of the farm at one moment."""

    board: str
    """As the user names it."""
    key: str
    at: str
    """Where clients reach it."""
    state: str
    """CONNECTING and the like."""
    client: str = ""
    """Who has it, in the states BUSY and DRAINING."""
    sessions: int = 0
    links: int = 0
    """How often it was connected."""
    last_error: str = ""


Tell = Callable[[Registered], None]


def check_key(key: str) -> str:
    """The key, where a tracker and an agent understand it. UserError where not."""
    if _KEY.fullmatch(key):
        return key
    raise UserError(f"--key wants up to 63 letters, digits, '.', '_' or '-', not {key!r}")


def find_linked(specs: Sequence[str]) -> dict[str, Board]:
    """The boards named so. UserError where one is not reached by a link of its own, or named twice."""
    if len(set(specs)) < len(specs):
        raise UserError("a board is named twice: it has one agent at a time")
    return {spec: _linked(spec) for spec in specs}


def _linked(spec: str) -> Board:
    found = find_boards(spec)
    if found is None or isinstance(found, Place | Tracker):
        raise UserError(
            f"{spec!r} is not reached by SSH or adb: register takes ssh://USER@HOST, adb://SERIAL, or such a "
            "board's name in boards.toml. An agent that listens offers itself: `board serve --tracker`"
        )
    return found


class Registration(threading.Thread):
    """Holds one board: connects it, offers it while it is there, and tells what changes.

    UserError where its port is not to be had.
    """

    def __init__(
        self, name: str, board: Board, tracker: Place, key: str, port: int, token: str, tell: Tell
    ) -> None:
        super().__init__(name=name, daemon=True)
        self._board, self._tell = board, tell
        self._stop_asked, self._woken = threading.Event(), threading.Event()
        listener = open_port(port)
        port = int(listener.getsockname()[1])
        self._offer = Offer(tracker, key, port)
        self._relay = Relay(name, listener, token, self._offer, self._woken.set)
        self.seen = Registered(name, key, f"127.0.0.1:{port}", "")

    def stop(self) -> None:
        """Let it end; `join` waits for that."""
        self._stop_asked.set()
        self._woken.set()

    def abandon(self) -> None:
        """End what it waits for."""
        self._board.close()

    def run(self) -> None:
        """Until it is stopped or drained."""
        pause = FIRST_PAUSE
        with self._relay:
            while not self._stop_asked.is_set() and not self._relay.is_draining:
                self._say(CONNECTING)
                links = self.seen.links
                try:
                    self._hold()
                except Exception as error:  # its thread must not end: the board may be back later
                    if self._stop_asked.is_set():
                        break
                    self._say(UNREACHABLE, str(error) or repr(error))
                pause = FIRST_PAUSE if self.seen.links > links else min(2 * pause, LONGEST_PAUSE)
                if not self._relay.is_draining:
                    self._stop_asked.wait(pause)
        if self.seen.state != UNREACHABLE or self._relay.is_draining:
            self._say(DRAINED if self._relay.is_draining else ENDED)

    def _hold(self) -> None:
        """As long as the board is there. DeviceError when it is not any more."""
        with self._board:
            self.seen = replace(self.seen, links=self.seen.links + 1)
            self._relay.lead_to(self._board.place)
            try:
                while self._board.is_up:
                    if self._stop_asked.is_set():
                        return
                    self._woken.clear()
                    self._keep_offer()
                    self._woken.wait(_TICK)
            finally:
                self._relay.lead_to(None)
                self._offer.withdraw()
        if not self._relay.is_draining:
            raise LostError("the link was lost, or its agent ended")

    def _keep_offer(self) -> None:
        client = self._relay.client
        if self._relay.is_draining:
            self._offer.withdraw()
            self._say(DRAINING)
            return
        try:
            self._offer.keep()
        except DeviceError as error:
            self._say(NO_TRACKER, str(error))
        if self._offer.is_registered:
            self._say(BUSY if client else FREE)

    def _say(self, state: str, error: str = "") -> None:
        last = error or self.seen.last_error
        relay = self._relay
        seen = replace(self.seen, state=state, client=relay.client, sessions=relay.sessions, last_error=last)
        if seen != self.seen:
            self.seen = seen
            self._tell(seen)


class Farm:
    """The boards of one `register`, as long as the context lasts. UserError as Registration has it."""

    def __init__(
        self, boards: dict[str, Board], tracker: Place, key: str, first_port: int, token: str, tell: Tell
    ) -> None:
        self._registrations = [
            Registration(name, board, tracker, key, first_port and first_port + number, token, tell)
            for number, (name, board) in enumerate(boards.items())
        ]

    def __enter__(self) -> Farm:
        for each in self._registrations:
            each.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for each in self._registrations:
            each.stop()
        end = time.monotonic() + STOP_SECONDS
        for each in self._registrations:
            each.join(max(0.0, end - time.monotonic()))
        waiting = [each for each in self._registrations if each.is_alive()]
        for each in waiting:
            each.abandon()
        for each in waiting:
            each.join(STOP_SECONDS)

    @property
    def is_over(self) -> bool:
        """Whether all boards were drained."""
        return all(each.seen.state in OVER for each in self._registrations)

    @property
    def seen(self) -> list[Registered]:
        """The boards as they are now."""
        return [each.seen for each in self._registrations]
