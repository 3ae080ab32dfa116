"""A phone over adb: Debian's adb, client and server, and a daemon of ours (`tests/targets/adbd.py`).

Its ARM programs run under qemu-user by the words of `prefix`, with an empty sysroot: what they need of a C
library must have been brought.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from targets.emulated.board import DECLARED, find_qemu
from tests.targets import adbd
from tests.targets.board_folder import TURN, BoardFolder

ADB = shutil.which("adb")


@contextmanager
def adb_server(folder: Path) -> Iterator[None]:
    """A server of adb's for the context alone, with keys of its own."""
    assert ADB is not None
    with socket.socket() as any_socket:
        any_socket.bind(("127.0.0.1", 0))
        port = str(any_socket.getsockname()[1])
    wrapper = folder / "adb"
    wrapper.write_text(f'#!/bin/sh\nHOME="{folder}" exec {ADB} "$@"\n')
    wrapper.chmod(0o700)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
        patch.setenv("ANDROID_ADB_SERVER_PORT", port)
        adb("start-server")
        try:
            yield
        finally:
            adb("kill-server")


class Phone(BoardFolder):
    """The daemon, and what a client needs: `boards.toml` with the board `phone`, which adb knows once it is
    plugged in.
    """

    name = "phone"

    def __init__(self, folder: Path, features: str = "shell_v2,cmd", is_authorized: bool = True) -> None:
        super().__init__(folder)
        (folder / "empty").mkdir()
        self.process = subprocess.Popen(
            [sys.executable, adbd.__file__, str(folder), features, "allow" if is_authorized else "ask"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.serial = f"127.0.0.1:{self.process.stdout.readline().strip()}"
        self.write_board()

    def write_board(self, prefix: str | None = None) -> None:
        """boards.toml."""
        if prefix is None:
            prefix = " ".join(
                [find_qemu(), "-cpu", "cortex-a53", "-L", str(self.folder / "empty"), *DECLARED]
            )
        (self.folder / "config" / "boards.toml").write_text(
            f'[boards.phone]\naddress = "adb://{self.serial}"\ncore = "cortex-a53"\nprefix = "{prefix}"\n'
        )

    def plug_in(self) -> str:
        return adb("connect", self.serial)

    def unplug(self) -> None:
        """As a cable is pulled: nobody is told. adb's server then tries to connect anew."""
        self.process.send_signal(signal.SIGUSR1)

    def stop(self) -> None:
        adb("disconnect", self.serial)
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
        for each in self.on_board():
            with suppress(psutil.Error):
                each.kill()
        TURN.leave(self)

    def sessions(self) -> list[str]:
        """What adb's server forwards."""
        return adb("forward", "--list").split()

    def on_board(self) -> list[psutil.Process]:
        """Without the daemon."""
        return [each for each in super().on_board() if each.pid != self.process.pid]


def adb(*words: str) -> str:
    """What adb says; the environment tells it the port of its server."""
    done = subprocess.run(
        ["adb", *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=60
    )
    return done.stdout + done.stderr
