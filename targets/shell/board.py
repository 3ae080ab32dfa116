"""A board with a shell: what it is, the agent taken there once and started, and a socket that leads to it."""

from __future__ import annotations

import dataclasses
import logging
import re
import secrets
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType

from targets.agent_lines import AgentLines
from targets.cores import Core, find_core
from targets.errors import DeviceError, LostError, UserError
from targets.place import Place
from targets.rpc import RpcDevice, connect_place
from targets.shell.address import ShellAddress
from targets.shell.kit import Kit
from targets.shell.link import STOP_SECONDS, ShellLink, end_process, read_line
from targets.shell.scripts import Facts, parse_facts, probe, start

START_SECONDS = 60.0
"""For the agent to start, and for other hosts' agents to leave the board."""
BEAT_SECONDS = 5.0
"""Between signs of life; the agent ends itself after 30 s without (targets/agent/src/lifeline.c)."""
MARGIN_KIB = 64 * 1024
"""Free space wanted beside the agent: for a library."""

log = logging.getLogger(__name__)


class ShellBoard:
    """The agent on a board; a context manager, which can be entered anew when the link was lost.

    Raises (on entering) DeviceError where the board is not reached, cannot run the agent, or is not free.
    """

    def __init__(self, link: ShellLink) -> None:
        self.link = link
        self.facts: Facts | None = None
        self._token = secrets.token_hex(32)
        self._agent: subprocess.Popen[str] | None = None
        self._words: AgentLines | None = None
        self._place: Place | None = None

    def __enter__(self) -> ShellBoard:
        try:
            self.link.__enter__()
            port = self._start_agent(self._take_agent())
            socket = self.link.forward(port, "agent.sock")
            self._place = Place(str(socket), 0, token=self._token, label=self.address.spec)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def address(self) -> ShellAddress:
        """Which board it is."""
        return self.link.address

    @property
    def is_up(self) -> bool:
        """Whether the agent runs and is reached, as far as is known here."""
        return self._agent is not None and self._agent.poll() is None and self.link.is_up

    @property
    def place(self) -> Place:
        """Where the agent is reached, while the context lasts."""
        assert self._place is not None
        return self._place

    def last_words(self) -> str:
        """What the agent said last of a session that failed; empty when nothing."""
        return self._words.last_words() if self._words else ""

    def close(self) -> None:
        """End the agent, which leaves nothing on the board but its program, and the link."""
        if self._agent is not None:
            end_process(self._agent)
        if self._words is not None:
            self._words.join(STOP_SECONDS)
        self.link.close()
        self._agent = self._words = self._place = None

    # As targets.tracker.Tracker, for a search.

    def count(self) -> int:
        """One board."""
        return 1

    def request(self, seconds: float = START_SECONDS, wanted: Callable[[], bool] = lambda: True) -> Place:  # noqa: ARG002
        """Where it is reached, after connecting anew where the link was lost. Raises DeviceError."""
        if not self.is_up:
            self.close()
            self.__enter__()
        return self.place

    def _take_agent(self) -> Kit:
        """Look at the board, and take the agent to it unless it is there."""
        kit, folder = self.link.kit(), self.link.folder_there
        facts = self.facts = parse_facts(self.link.run(probe(folder, kit.digest), "asking what it is"))
        if facts is None:
            raise DeviceError(f"{self.address.spec} has no POSIX shell, or it says things of its own")
        if facts.system != "Linux" or facts.machine not in ("aarch64", "arm64"):
            raise DeviceError(
                f"{self.address.spec} is a {facts.system} on {facts.machine}: "
                "the agent is for 64-bit ARM Linux (aarch64)"
            )
        if facts.has_agent:
            return kit
        needed = kit.kib + MARGIN_KIB
        if facts.free_kib is not None and facts.free_kib < needed:
            raise DeviceError(
                f"{self.address.spec} has no room for the agent: {facts.free_kib // 1024} MiB are free "
                f"in {self.link.folder_for_people}, {needed // 1024} are needed"
            )
        log.info("%s: taking the agent there (%d KiB)", self.address.spec, kit.kib)
        self.link.store(kit)
        return kit

    def _start_agent(self, kit: Kit) -> int:
        """The port on the board's loopback, once no other host's agent has the board."""
        agent = self._agent = self.link.start(start(self.link.folder_there, kit, self.address.prefix))
        assert agent.stdout is not None and agent.stderr is not None and agent.stdin is not None
        self._words = AgentLines(self.address.spec, agent.stderr, self._hear)
        with suppress(BrokenPipeError):
            agent.stdin.write(self._token + "\n")
            agent.stdin.flush()
        threading.Thread(target=_beat, args=(agent,), daemon=True).start()
        end = time.monotonic() + START_SECONDS
        while (line := read_line(agent.stdout, end - time.monotonic())) is not None:
            found = re.fullmatch(r"listening on \S+:(\d+)", line)
            if found:
                return int(found.group(1))
        self._words.join(0.5)
        raise self._no_start(self._words.lines)

    def _no_start(self, said: list[str]) -> DeviceError:
        if not self.link.is_up:
            return self.link.lost("starting the agent")
        waiting = [found for line in said if (found := re.search(r"waiting: (\d+) before", line))]
        if waiting and self.is_up:
            return LostError(
                f"{self.address.spec} was not free in {START_SECONDS:g} s: {waiting[-1].group(1)} before us; "
                "try again later"
            )
        return self.link.explain_board(said, "starting the agent")

    def _hear(self, line: str) -> None:
        if "waiting:" in line:
            log.warning("%s is held by another host: %s", self.address.spec, line.removeprefix("agent: "))


def _beat(agent: subprocess.Popen[str]) -> None:
    """Signs of life for the agent, until it ends."""
    with suppress(OSError, ValueError):
        while agent.poll() is None and agent.stdin is not None:
            agent.stdin.write("\n")
            agent.stdin.flush()
            time.sleep(BEAT_SECONDS)


@contextmanager
def connect_shell(board: ShellBoard, session_timeout: float = 0.0) -> Iterator[RpcDevice]:
    """The board as a device. Raises DeviceError as ShellBoard does."""
    address = board.address
    with board, connect_place(address.spec, board.place, session_timeout, board.last_words) as device:
        assert board.facts is not None
        yield dataclasses.replace(
            device, description=board.facts.description, core=address.core or _only_core(board.facts)
        )


def _only_core(facts: Facts) -> Core | None:
    """The board's core, where it has but one design and the table has that."""
    if len(set(facts.cores)) != 1:
        return None
    with suppress(UserError):
        return find_core(facts.cores[0])
    return None
