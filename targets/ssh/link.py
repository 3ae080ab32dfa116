"""One authenticated connection of OpenSSH's client to a board."""

from __future__ import annotations

import subprocess
from pathlib import Path

from targets.agent.build import build_agent
from targets.shell.kit import PROGRAM, Kit
from targets.shell.link import SILENCE_SECONDS, ShellLink, start_process
from targets.shell.scripts import HOLD, take
from targets.ssh.address import CONNECT_SECONDS, SshAddress, has_terminal
from targets.ssh.failures import BOARD, LINK

PROMPT_SECONDS = 120.0
"""For all of connecting: somebody may have to type a password."""
OWN_FAILURE = 255
"""What ssh itself ends with when it fails."""


class SshLink(ShellLink):
    """See `ShellLink`: a master of ssh, and its control socket."""

    scheme = "SSH"
    folder_there = '"${XDG_CACHE_HOME:-$HOME/.cache}/armature"'
    folder_for_people = "~/.cache"
    link_rows, board_rows = LINK, BOARD

    def __init__(self, address: SshAddress) -> None:
        super().__init__(address)
        self._ssh = address

    @property
    def patience(self) -> float:
        return PROMPT_SECONDS if has_terminal() else 3 * CONNECT_SECONDS

    def kit(self) -> Kit:
        """The agent alone: the board has glibc."""
        return Kit({PROGRAM: build_agent()})

    def store(self, kit: Kit) -> None:
        """Through standard input."""
        self.run(take(self.folder_there, kit), "taking the agent there", kit.files[PROGRAM].read_bytes())

    def forward(self, port: int, name: str) -> Path:
        """See `ShellLink.forward`."""
        path = self.folder / name
        path.unlink(missing_ok=True)
        options = ("-O", "forward", "-L", f"{path}:127.0.0.1:{port}")
        done = subprocess.run(
            self._ssh.command(self._control, *options),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=SILENCE_SECONDS,
        )
        if done.returncode != 0:
            raise self.explain_link(done.stderr.splitlines())
        return path

    @property
    def _control(self) -> Path:
        return self.folder / "c"

    def _words_for(self, script: str) -> list[str]:
        return [*self._ssh.command(self._control), script]

    def _is_cut(self, process: subprocess.Popen[bytes]) -> bool:
        return process.returncode == OWN_FAILURE or not self.is_up

    def _hold(self) -> subprocess.Popen[str]:
        command = [*self._ssh.command(self._control, "-M"), HOLD]
        return start_process(command, own_session=not has_terminal())  # it may ask for a password
