"""How a board is reached by SSH."""

from __future__ import annotations

import os
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from targets.errors import UserError
from targets.shell.address import ShellAddress
from targets.user_boards import UserBoard

CONNECT_SECONDS = 10
ALIVE_SECONDS, ALIVE_TIMES = 5, 4
"""A link that is cut is noticed after their product."""

# No word of it may look like an option of ssh's.
_FORM = re.compile(
    r"ssh://(?:(?P<user>[\w.][\w.+-]*)@)?(?P<host>[\w][\w.-]*|\[[0-9A-Fa-f:.]+(?:%\w+)?\])(?::(?P<port>\d+))?/?"
)


@dataclass(frozen=True)
class SshAddress(ShellAddress):
    """A board and the ways of ssh to it."""

    port: int | None = None
    key: Path | None = None
    config: Path | None = None

    def command(self, control: Path, *options: str) -> list[str]:
        """ssh with such options, through the control socket; the remote command follows."""
        ssh = shutil.which("ssh")
        if ssh is None:
            raise UserError("ssh not found: apt-get install openssh-client")
        words = [ssh, "-T", "-S", str(control)]
        words += ["-F", str(self.config)] if self.config else []
        words += ["-i", str(self.key), "-o", "IdentitiesOnly=yes"] if self.key else []
        words += ["-p", str(self.port)] if self.port else []
        for option in _OPTIONS if has_terminal() else (*_OPTIONS, "BatchMode=yes"):
            words += ["-o", option]
        return [*words, *options, self.destination]


_OPTIONS = (
    f"ConnectTimeout={CONNECT_SECONDS}",
    f"ServerAliveInterval={ALIVE_SECONDS}",
    f"ServerAliveCountMax={ALIVE_TIMES}",
    "ControlPersist=no",
    "RemoteCommand=none",
    "RequestTTY=no",
)


def has_terminal() -> bool:
    """Whether somebody could type a password."""
    return sys.stdin is not None and not sys.stdin.closed and os.isatty(0)


def parse_address(spec: str, board: UserBoard | None = None, name: str = "") -> SshAddress:
    """ssh://[USER@]HOST[:PORT], with what the user's board of that name adds. UserError for other forms."""
    found = _FORM.fullmatch(spec)
    port = int(found["port"]) if found and found["port"] else None
    if found is None or (port is not None and not 0 < port < 65536):
        raise UserError(
            f"unknown device {spec!r}: a board over SSH is ssh://USER@HOST or ssh://USER@HOST:PORT"
        )
    host = found["host"].strip("[]")
    destination = f"{found['user']}@{host}" if found["user"] else host
    board = board or UserBoard(spec)
    return SshAddress(
        name or spec, destination, board.core, board.prefix, port=port, key=board.key, config=board.ssh_config
    )
