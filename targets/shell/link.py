"""A connection to a board by the program that reaches it (ssh, adb), for scripts and forwarded ports."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, ClassVar

from targets.agent_lines import AgentLines
from targets.errors import DeviceError, LostError
from targets.shell.address import ShellAddress
from targets.shell.failures import Rows, explain
from targets.shell.kit import Kit
from targets.shell.scripts import HOLD, READY

STOP_SECONDS = 5.0
SILENCE_SECONDS = 60.0
"""The longest that an upload may stand still, or a script take."""
_LONGEST_PATH = 60
"""Of the folder above ours: a path to a socket has 104 bytes at most, of which our folder and ssh take 41."""
_CHUNK = 1 << 16


class ShellLink(ABC):
    """A connection, as long as its context lasts, which can be entered anew; it ends with this process, too.

    Raises (on entering) UserError where the program that makes it is missing, DeviceError where the board is
    not reached.
    """

    scheme: ClassVar[str]
    folder_there: ClassVar[str]
    """The agents' folder on the board, as its shell understands it."""
    folder_for_people: ClassVar[str]
    link_rows: ClassVar[Rows]
    board_rows: ClassVar[Rows]

    def __init__(self, address: ShellAddress) -> None:
        self.address = address
        self.folder = Path()
        self._master: subprocess.Popen[str] | None = None
        self._words: AgentLines | None = None

    # What each way to reach boards does by itself.

    @property
    @abstractmethod
    def patience(self) -> float:
        """Seconds for all of connecting."""

    @abstractmethod
    def kit(self) -> Kit:
        """What the agent needs on such a board. UserError where it is not on this machine."""

    @abstractmethod
    def store(self, kit: Kit) -> None:
        """Take it there, whole or not at all. Raises DeviceError."""

    @abstractmethod
    def forward(self, port: int, name: str) -> Path:
        """A socket here of that name that leads to a port of the board's loopback. Raises DeviceError."""

    @abstractmethod
    def _words_for(self, script: str) -> list[str]:
        """The command that runs a script on the board."""

    @abstractmethod
    def _is_cut(self, process: subprocess.Popen[bytes]) -> bool:
        """Whether a script that failed did so because the link is gone."""

    def _hold(self) -> subprocess.Popen[str]:
        """The process that is there as long as the link is: it says READY once it is."""
        return self.start(HOLD)

    # What is the same for all.

    @property
    def is_up(self) -> bool:
        """Whether the link still is."""
        return self._master is not None and self._master.poll() is None

    def __enter__(self) -> ShellLink:
        # Its own folder, which nobody else may enter: the sockets in it need no password.
        parent = tempfile.gettempdir()
        self.folder = Path(
            tempfile.mkdtemp(
                prefix=f"armature-{self.scheme.lower()}-",
                dir=parent if len(parent) < _LONGEST_PATH else "/tmp",
            )
        )
        try:
            self._connect()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End it, and what runs over it."""
        if self._master is not None:
            self._master.terminate()  # by itself it would wait for all that was forwarded to be closed
            end_process(self._master)
        if self._words is not None:
            self._words.join(STOP_SECONDS)
        if self.folder != Path():
            shutil.rmtree(self.folder, ignore_errors=True)
        self._master, self._words, self.folder = None, None, Path()

    def lost(self, doing: str) -> LostError:
        """What to raise when the link was found dead."""
        return LostError(f"{self.address.spec} is gone: the link was lost while {doing}")

    def start(self, script: str) -> subprocess.Popen[str]:
        """Run a script on the board, with pipes to it."""
        return start_process(self._words_for(script))

    def run(self, script: str, doing: str, data: bytes = b"") -> str:
        """What a script answers to the data. DeviceError when it fails or stands still."""
        with subprocess.Popen(
            self._words_for(script),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        ) as process:
            try:
                output, errors = self._exchange(process, data, doing)
            except BaseException:
                process.kill()
                raise
        if process.returncode != 0:
            raise self.lost(doing) if self._is_cut(process) else self.explain_board(_lines(errors), doing)
        return output.decode(errors="replace")

    def explain_link(self, said: Sequence[str]) -> DeviceError:
        """Why the program that reaches the board ended."""
        return explain(self.address, said, self.link_rows, f"ended the {self.scheme} link")

    def explain_board(self, said: Sequence[str], doing: str) -> DeviceError:
        """Why a script on the board failed."""
        return explain(self.address, said, self.board_rows, f"failed while {doing}", self.folder_for_people)

    def _connect(self) -> None:
        self._master = self._hold()
        assert self._master.stdout is not None and self._master.stderr is not None
        self._words = AgentLines(self.address.spec, self._master.stderr)
        end = time.monotonic() + self.patience
        while (line := read_line(self._master.stdout, end - time.monotonic())) != READY:
            if line is None:  # it ended, or says nothing
                self._words.join(0.5)
                raise self.explain_link(self._words.lines or ["it did not answer: timed out"])

    def _exchange(self, process: subprocess.Popen[bytes], data: bytes, doing: str) -> tuple[bytes, bytes]:
        """Write the data and read both outputs, as long as something moves."""
        assert process.stdin and process.stdout and process.stderr
        os.set_blocking(process.stdin.fileno(), False)
        got: dict[IO[bytes], bytes] = {process.stdout: b"", process.stderr: b""}
        rest, open_ends = memoryview(data), set(got)
        while open_ends:
            writers = [process.stdin] if not process.stdin.closed else []
            readable, writable, _ = select.select(list(open_ends), writers, [], SILENCE_SECONDS)
            if not readable and not writable:
                raise self.lost(doing)
            for stream in readable:
                more = os.read(stream.fileno(), _CHUNK)
                got[stream] += more
                if not more:
                    open_ends.discard(stream)
            if writable:
                with suppress(BlockingIOError):
                    try:
                        rest = rest[os.write(process.stdin.fileno(), rest[:_CHUNK]) :]
                    except BrokenPipeError:
                        rest = rest[:0]
                if not rest:
                    with suppress(BrokenPipeError):
                        process.stdin.close()
        return got[process.stdout], got[process.stderr]


def start_process(command: Iterable[str], own_session: bool = True) -> subprocess.Popen[str]:
    """A process with pipes; one in its own session is not ended by Ctrl-C here, and has no terminal."""
    return subprocess.Popen(
        list(command),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=own_session,
    )


def end_process(process: subprocess.Popen[str]) -> None:
    """Close its input, which ends it, or kill it."""
    assert process.stdin is not None and process.stdout is not None
    with suppress(BrokenPipeError):
        process.stdin.close()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdout.close()


def read_line(stream: IO[str], seconds: float) -> str | None:
    """The next line, without its end; None at the end, or where there is none in time.

    The stream must be read by nothing else: what it holds beyond the line is not seen by `select`.
    """
    line = b""
    end = time.monotonic() + seconds
    while select.select([stream], [], [], max(0.0, end - time.monotonic()))[0]:
        letter = os.read(stream.fileno(), 1)
        if letter in (b"", b"\n"):
            return line.decode(errors="replace").strip() if letter else None
        line += letter
    return None


def _lines(text: bytes) -> list[str]:
    return [line.strip() for line in text.decode(errors="replace").splitlines() if line.strip()]
