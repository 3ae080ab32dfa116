"""All boards that the user knows, and what they are doing: of boards.toml, of trackers, or named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from targets.board_state import BoardState, parse_state
from targets.device import find_boards, find_tracker
from targets.emulation import why_emulated
from targets.errors import DeviceError, UserError
from targets.place import Place, RefusedError
from targets.shell.board import ShellBoard
from targets.shell.scripts import survey
from targets.status import AgentStatus, ask_status
from targets.tracker import Tracker
from targets.user_boards import find_user_board, user_board_names

AT_A_TIME = 16
FREE, BUSY, DRAINING, REFUSES, UNREACHABLE = "free", "busy", "draining", "refuses us", "unreachable"


@dataclass(frozen=True)
class Seen:
    """A board as it was found."""

    name: str
    """As the user names it, or its tracker's key."""
    place: str
    claimed: str
    """The core of boards.toml; empty: none is claimed."""
    state: str
    """FREE and the like."""
    doing: str
    last_error: str
    board: BoardState | None = None
    status: AgentStatus | None = None

    @property
    def core(self) -> str:
        """What it says it has, or else what is claimed."""
        if self.board is None:
            return self.claimed
        if why_emulated(self.board):
            return f"emulated {self.claimed}".strip()
        told = Counter(cpu.core for cpu in self.board.cpus if cpu.core)
        return ", ".join(f"{count} x {core}" for core, count in told.items()) or self.claimed


def list_boards(specs: Sequence[str] = ()) -> list[Seen]:
    """The boards of these devices and trackers; of none: those of boards.toml. In their order.

    Raises UserError where one is not understood. A board that does not answer is in the list as such.
    """
    wanted = list(_wanted(specs or user_board_names()))
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        return [seen for found in pool.map(_look, wanted) for seen in found]


def drain_boards(spec: str) -> list[Seen]:
    """Tell the agents there to take no more clients, and to end when they have none.

    Raises UserError where there is no agent that outlives its client, DeviceError where none answers.
    """
    found = find_boards(spec)
    if isinstance(found, Place):
        return [_of_agent(spec, found, "drain")]
    if isinstance(found, Tracker):
        boards = found.boards()
        if not boards:
            raise DeviceError(f"{spec}: no board of key {found.key!r} is registered")
        return [_of_agent(key, place, "drain") for key, place in boards]
    raise UserError(f"{spec} has no agent that outlives its client: there is nothing to drain")


def _wanted(specs: Iterable[str]) -> Iterator[tuple[str, Place | Tracker | ShellBoard]]:
    for spec in specs:
        found = find_tracker(spec) or find_boards(spec)
        if found is None:
            raise UserError(f"{spec!r} is no board: list takes names of boards.toml and addresses of boards")
        yield spec, found


def _look(wanted: tuple[str, Place | Tracker | ShellBoard]) -> list[Seen]:
    name, found = wanted
    try:
        if isinstance(found, ShellBoard):
            return [_by_shell(name, found)]
        if isinstance(found, Place):
            return [_of_agent(name, found)]
        return [_asked(key, place) for key, place in found.boards()]
    except DeviceError as error:
        return [_silent(name, found.address.spec if isinstance(found, ShellBoard) else str(found), error)]


def _asked(name: str, place: Place) -> Seen:
    try:
        return _of_agent(name, place)
    except DeviceError as error:
        return _silent(name, str(place), error)


def _silent(name: str, place: str, error: DeviceError) -> Seen:
    state = REFUSES if isinstance(error, RefusedError) else UNREACHABLE
    return Seen(name, place, _claimed(name), state, "", str(error))


def _of_agent(name: str, place: Place, request: str = "status") -> Seen:
    status = ask_status(name, place, request)
    state = DRAINING if status.is_drained else BUSY if status.client else FREE
    doing = f"{status.client} for {status.busy_seconds:.0f} s" if status.client else ""
    if status.waiting:
        doing += f", {status.waiting} waiting"
    return Seen(name, str(place), _claimed(name), state, doing, status.last_error, status.board, status)


def _by_shell(name: str, found: ShellBoard) -> Seen:
    """Without an agent: what the board's files say, and whether somebody's agent runs there."""
    with found.link as link:
        text = link.run(survey(), "asking how it is")
    agents = sum("armature-agent-" in line for line in text.splitlines())
    doing = f"{agents} agents are there" if agents > 1 else ""
    state = BUSY if agents else FREE
    return Seen(name, found.address.destination, _claimed(name), state, doing, "", parse_state(text))


def _claimed(name: str) -> str:
    mine = find_user_board(name)
    return mine.core.name if mine and mine.core else ""
