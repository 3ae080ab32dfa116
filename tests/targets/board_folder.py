"""What stands for a board's files and programs in tests: a folder, and a `uname` that says ARM."""

from __future__ import annotations

import fcntl
import os
import stat
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

import psutil

UNAME = '#!/bin/sh\n[ "$1" = -m ] && { echo aarch64; exit; }\nexec /usr/bin/uname "$@"\n'


class _Turn:
    """This process's turn among those that test boards: an agent with --take-turns waits for all that are on
    this machine, those of other tests' boards too.
    """

    def __init__(self) -> None:
        self._holders: set[int] = set()
        self._file: IO[str] | None = None

    def take(self, holder: object) -> None:
        if self._file is None:
            self._file = (Path(tempfile.gettempdir()) / f"armature-test-boards-{os.getuid()}").open("w")
            fcntl.flock(self._file, fcntl.LOCK_EX)
        self._holders.add(id(holder))

    def leave(self, holder: object) -> None:
        self._holders.discard(id(holder))
        if not self._holders and self._file is not None:
            self._file.close()
            self._file = None


TURN = _Turn()


class BoardFolder:
    """`home` is the board's, `bin` comes first in its PATH, and `config` holds the client's boards.toml."""

    name: str
    """In boards.toml."""

    def __init__(self, folder: Path) -> None:
        TURN.take(self)
        self.folder, self.home = folder, folder / "home"
        for each in (self.home, folder / "bin", folder / "config"):
            each.mkdir(parents=True)
        self.write_program("uname", UNAME)

    def write_program(self, name: str, text: str) -> None:
        path = self.folder / "bin" / name
        path.write_text(text)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def on_board(self) -> list[psutil.Process]:
        """What runs in the board's home, or from it."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if str(self.home) in " ".join(process.cmdline()) or process.cwd().startswith(str(self.home)):
                    found.append(process)
        return found

    def sessions(self) -> Sequence[object]:
        """What of a client's is left at the board's server."""
        raise NotImplementedError

    def agents(self) -> list[psutil.Process]:
        """The agents there, without the shells that started them."""
        return [each for each in self.on_board() if "qemu" in each.name() and "serve" in each.cmdline()]

    def files(self) -> list[str]:
        """What lies on the board."""
        return sorted(str(path.relative_to(self.home)) for path in self.home.rglob("*") if path.is_file())

    def is_clean(self) -> bool:
        """Whether nothing runs there, nor is left of a session."""
        return self.on_board() == [] and not list(self.home.rglob("work-*"))


def wait_until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    from tests.tuning.farm import wait_until

    wait_until(condition, seconds)
