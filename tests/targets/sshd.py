"""A board over SSH: an sshd of our own on loopback, with keys of its own.

Its machine is said to be a 64-bit ARM (a `uname` of our own), and its ARM programs run under qemu-user by the
words of `prefix`: what is emulated is the board's CPU; the SSH, the shell and its tools are
this machine's.
"""

from __future__ import annotations

import getpass
import os
import signal
import socket
import subprocess
from contextlib import suppress
from pathlib import Path

import psutil

from targets.emulated.board import DECLARED, find_qemu, find_sysroot
from tests.targets.board_folder import TURN, BoardFolder, wait_until

SSHD = Path("/usr/sbin/sshd")


def make_key(path: Path) -> Path:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    return path


class Sshd(BoardFolder):
    """The server, and what a client needs: `config` for ssh, and `boards.toml` with the board `pi`."""

    name = "pi"

    def __init__(self, folder: Path, address: str = "127.0.0.1", wrap: tuple[str, ...] = ()) -> None:
        super().__init__(folder)
        self._wrap, self.address = wrap, address
        self.key, self.host_key = make_key(folder / "user_key"), make_key(folder / "host_key")
        (folder / "authorized_keys").write_text(self.key.with_suffix(".pub").read_text())
        with socket.socket() as any_socket:
            any_socket.bind(("127.0.0.1", 0))
            self.port = int(any_socket.getsockname()[1])
        self.write_command()
        (folder / "sshd_config").write_text(
            f"Port {self.port}\nListenAddress {address}\nHostKey {self.host_key}\nPidFile none\nUsePAM no\n"
            f"AuthorizedKeysFile {folder / 'authorized_keys'}\nStrictModes no\nPasswordAuthentication no\n"
            f"KbdInteractiveAuthentication no\nPermitRootLogin yes\nForceCommand {folder / 'command'}\n"
        )
        self.known_hosts = folder / "known_hosts"
        self.trust(self.host_key)
        self.config = folder / "ssh_config"
        self.config.write_text(
            f"Host *\n  UserKnownHostsFile {self.known_hosts}\n  GlobalKnownHostsFile none\n"
        )
        self.write_board()
        self.start()

    @property
    def spec(self) -> str:
        return f"ssh://{getpass.getuser()}@{self.address}:{self.port}"

    def write_command(self, before: str = "") -> None:
        """What every session runs: the asked command, in the board's home."""
        path = self.folder / "command"
        path.write_text(
            f'#!/bin/sh\n{before}\nexec env -i HOME="{self.home}" PATH="{self.folder / "bin"}:$PATH" '
            'sh -c "$SSH_ORIGINAL_COMMAND"\n'
        )
        path.chmod(0o700)

    def write_board(self, prefix: str | None = None, key: Path | None = None) -> None:
        """boards.toml."""
        if prefix is None:
            prefix = " ".join([find_qemu(), "-cpu", "cortex-a53", "-L", str(find_sysroot()), *DECLARED])
        (self.folder / "config" / "boards.toml").write_text(
            f'[boards.pi]\naddress = "{self.spec}"\ncore = "cortex-a53"\nkey = "{key or self.key}"\n'
            f'ssh_config = "{self.config}"\n' + (f'prefix = "{prefix}"\n' if prefix else "")
        )

    def trust(self, host_key: Path | None) -> None:
        """Lets the client know a host key, or none."""
        public = host_key.with_suffix(".pub").read_text() if host_key else ""
        self.known_hosts.write_text(f"[{self.address}]:{self.port} {public}" if host_key else "")

    def start(self) -> None:
        TURN.take(self)
        with suppress(PermissionError):  # root's sshd wants it
            Path("/run/sshd").mkdir(parents=True, exist_ok=True)
        self.process = subprocess.Popen(
            [*self._wrap, str(SSHD), "-D", "-e", "-f", str(self.folder / "sshd_config")],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=(self.folder / "sshd.log").open("w"),
        )
        wait_until(lambda: "listening on" in (self.folder / "sshd.log").read_text())

    def sessions(self) -> list[psutil.Process]:
        """The server's processes, one or two for a connection."""
        with suppress(psutil.NoSuchProcess):
            return psutil.Process(self.process.pid).children()
        return []

    def cut(self) -> None:
        """End all connections, and nothing else."""
        for session in self.sessions():
            for each in [*session.children(), session]:
                if "sshd" in each.name():
                    each.kill()

    def stop(self) -> None:
        for each in [*self.sessions(), *self.on_board()]:
            with suppress(psutil.Error):
                each.kill()
        with suppress(ProcessLookupError):
            os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()
        TURN.leave(self)
