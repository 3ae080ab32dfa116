"""A device by the user's adb: its server's connection, for scripts, files and a forwarded socket."""

from __future__ import annotations

import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

from targets.adb.address import AdbAddress, find_adb
from targets.adb.failures import BOARD, LINK, TOO_OLD
from targets.agent.build import build_agent
from targets.emulated.board import find_sysroot
from targets.errors import DeviceError, LostError, UserError
from targets.shell.kit import PROGRAM, Kit
from targets.shell.link import ShellLink, end_process, read_line, start_process
from targets.shell.scripts import WHOLE, receive

CONNECT_SECONDS = 30.0
"""adb's server may have to start first, and to find the device."""
ANSWER_SECONDS = 20.0
PUSH_SECONDS = 180.0
"""For the kit, over a slow radio."""
NOTICE_SECONDS = 1.0
"""After one process of adb's was cut off, the others are within."""
LOADER = "ld-linux-aarch64.so.1"
LIBRARIES = (LOADER, "libc.so.6", "libm.so.6", "libpthread.so.0", "libdl.so.2")
"""What the agent and the libraries it loads are linked with: Android has another C library (bionic)."""

# The shell that waits for our end, however it comes, and takes back what adb's server would keep.
_GUARD = 'trap "" HUP INT TERM; cat >/dev/null; d=$1; shift; "$@" >/dev/null 2>&1; rm -rf "$d"'


class AdbLink(ShellLink):
    """See `ShellLink`: a shell on the device that waits for the end of its input."""

    scheme = "adb"
    folder_there = folder_for_people = "/data/local/tmp/armature"
    link_rows, board_rows = LINK, BOARD
    patience = CONNECT_SECONDS

    def __init__(self, address: AdbAddress) -> None:
        super().__init__(address)
        self._adb = address
        self._guard: subprocess.Popen[str] | None = None

    def kit(self) -> Kit:
        """The agent, with a C library of its own: this machine's for ARM."""
        folder = find_sysroot() / "lib"
        missing = [name for name in LIBRARIES if not (folder / name).is_file()]
        if missing:
            raise UserError(
                f"no {', '.join(missing)} in {folder}, which the agent needs on a device of adb's: "
                "apt-get install libc6-arm64-cross, or set QEMU_LD_PREFIX to glibc 2.28 or newer for aarch64"
            )
        return Kit({PROGRAM: build_agent(), **{name: folder / name for name in LIBRARIES}}, loader=LOADER)

    def store(self, kit: Kit) -> None:
        """By adb's push, into a folder that a shell there makes the kit's, or removes however this ends."""
        doing = "taking the agent there"
        here = self.folder / "kit"
        here.mkdir()
        for name, path in kit.files.items():
            shutil.copy(path, here / name)
        shell = self.start(receive(self.folder_there, kit))
        try:
            self._push(shell, [here / name for name in kit.files], doing)
        finally:
            end_process(shell)
            assert shell.stderr is not None
            shell.stderr.close()
            shutil.rmtree(here)

    def forward(self, port: int, name: str) -> Path:
        """See `ShellLink.forward`: adb's server listens on it, until the guard says that it need not."""
        path = self.folder / name
        local = f"localfilesystem:{path}"
        remove = self._adb.command("forward", "--remove", local)
        self._guard = start_process(["sh", "-c", _GUARD, "sh", str(self.folder), *remove])
        self._ask("forward", local, f"tcp:{port}")
        return path

    def close(self) -> None:
        """See `ShellLink.close`."""
        if self._guard is not None:
            end_process(self._guard)
            assert self._guard.stderr is not None
            self._guard.stderr.close()
            self._guard = None
        super().close()

    def _connect(self) -> None:
        self._start_server()
        if "shell_v2" not in self._ask("features").split():
            raise DeviceError(f"{self.address.spec} {TOO_OLD}")
        super()._connect()

    def _start_server(self) -> None:
        """What it says goes to a file: a server that starts keeps its pipes open."""
        words = self.folder / "server"
        with words.open("w") as output:
            try:
                done = subprocess.run(
                    [find_adb(), "start-server"],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    check=False,
                    timeout=CONNECT_SECONDS,
                    start_new_session=True,
                )
            except subprocess.TimeoutExpired:
                raise DeviceError("adb's server does not answer: adb kill-server, and try again") from None
        if done.returncode != 0:
            raise self.explain_link(words.read_text(errors="replace").splitlines())

    def _ask(self, *words: str) -> str:
        """What adb answers at once."""
        done = self._adb_run(ANSWER_SECONDS, *words)
        if done is None:
            raise LostError(f"{self.address.spec} did not answer to adb in {ANSWER_SECONDS:g} s")
        if done.returncode != 0:
            raise self.explain_link(done.stderr.splitlines())
        return done.stdout

    def _adb_run(self, seconds: float, *words: str) -> subprocess.CompletedProcess[str] | None:
        """adb for this device; None where it did not end in time."""
        with suppress(subprocess.TimeoutExpired):
            return subprocess.run(
                self._adb.command(*words),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
                timeout=seconds,
                start_new_session=True,
            )
        return None

    def _push(self, shell: subprocess.Popen[str], files: list[Path], doing: str) -> None:
        assert shell.stdin is not None and shell.stdout is not None and shell.stderr is not None
        there = read_line(shell.stdout, ANSWER_SECONDS)
        said = ""
        if there is not None:
            said = self._push_to(there, files, doing)
            with suppress(BrokenPipeError):
                shell.stdin.write(f"{WHOLE}\n" if not said else "\n")
                shell.stdin.flush()
        try:
            shell.wait(ANSWER_SECONDS)
        except subprocess.TimeoutExpired:
            raise self.lost(doing) from None
        if shell.returncode != 0 or said:
            if self._is_gone():
                raise self.lost(doing)
            raise self.explain_board([*said.splitlines(), *shell.stderr.read().splitlines()], doing)

    def _push_to(self, there: str, files: list[Path], doing: str) -> str:
        """What adb says against it; nothing where all is well."""
        done = self._adb_run(PUSH_SECONDS, "push", *map(str, files), f"{there}/")
        if done is None:
            raise self.lost(doing)
        return "" if done.returncode == 0 else (done.stderr + done.stdout).strip() or "adb push failed"

    def _words_for(self, script: str) -> list[str]:
        return self._adb.command("shell", "-T", script)

    def _is_cut(self, process: subprocess.Popen[bytes]) -> bool:  # noqa: ARG002
        return self._is_gone()

    def _is_gone(self) -> bool:
        """adb's failures have no exit code of their own, so the link is given a moment to be seen dead."""
        if self._master is not None:
            with suppress(subprocess.TimeoutExpired):
                self._master.wait(NOTICE_SECONDS)
        return not self.is_up
