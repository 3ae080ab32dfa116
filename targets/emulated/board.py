"""Starts the agent under qemu-user, restricted to one core's instructions, and ends it without fail."""

from __future__ import annotations

import logging
import os
import re
import select
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from targets.agent.build import build_agent
from targets.agent_lines import AgentLines
from targets.cores import AARCH64, ARMV7, Core
from targets.errors import DeviceError, UserError

DECLARED = ("-E", "ARMATURE_EMULATED=1")  # the agent says so to whoever would time it
START_SECONDS = 60.0
STOP_SECONDS = 3.0

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Emulator:
    """What runs programs of one architecture; the board itself is of 64 bits."""

    qemu: str
    sysroot: Path
    """Where Debian has the C library."""
    loader: str
    package: str
    """Debian's, with the C library."""


EMULATORS = {
    AARCH64: Emulator(
        "qemu-aarch64", Path("/usr/aarch64-linux-gnu"), "ld-linux-aarch64.so*", "libc6-arm64-cross"
    ),
    ARMV7: Emulator("qemu-arm", Path("/usr/arm-linux-gnueabihf"), "ld-linux-armhf.so*", "libc6-armhf-cross"),
}
"""By `Core.arch`."""


class EmulatedBoard:
    """A running agent on an emulated core; a context manager.

    Attributes:
        core: the core it stands for.
        model: QEMU's CPU model.
        host, port: where the agent listens, once entered.

    Raises (on entering):
        UserError: qemu, its sysroot or the CPU model is missing on this machine.
        DeviceError: the agent did not start.
    """

    def __init__(self, core: Core) -> None:
        self.core = core
        self.model = ""
        self.host = "127.0.0.1"
        self.port = 0
        self._work_dir = Path()
        self._process: subprocess.Popen[str] | None = None
        self._log: AgentLines | None = None

    def __enter__(self) -> EmulatedBoard:
        emulator, self.model = emulator_of(self.core)
        agent = build_agent()
        self._work_dir = Path(tempfile.gettempdir()) / f"armature-board-{os.getpid()}-{id(self):x}"
        try:
            self._start([*emulator, str(agent)])
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def last_words(self) -> str:
        """The last line the agent wrote about a session that failed; empty when there is none."""
        return self._log.last_words() if self._log else ""

    def _start(self, program: list[str]) -> None:
        options = ["--port", "0", "--work-dir", str(self._work_dir), "--exit-with-parent", str(os.getpid())]
        process = subprocess.Popen(
            [*program, "serve", *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._process = process
        assert process.stderr is not None
        self._log = AgentLines(self.core.name, process.stderr)
        self.port = self._read_port(process, self._log)
        log.info("emulated %s (QEMU model %s) listens on port %d", self.core.name, self.model, self.port)

    def _read_port(self, process: subprocess.Popen[str], words: AgentLines) -> int:
        assert process.stdout is not None
        ready, _, _ = select.select([process.stdout], [], [], START_SECONDS)
        line = process.stdout.readline() if ready else ""
        found = re.fullmatch(r"listening on \S+:(\d+)\n", line)
        if found is None:
            time.sleep(0.1)  # for the reader to catch up
            said = words.lines[-1] if words.lines else line.strip() or f"silence for {START_SECONDS:.0f} s"
            raise DeviceError(f"the agent did not start on emulated:{self.core.name}: {said}")
        return int(found.group(1))

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            _end_group(process)
            if self._log is not None:
                self._log.join(STOP_SECONDS)
            for pipe in (process.stdout, process.stderr):
                if pipe is not None:
                    pipe.close()
        shutil.rmtree(self._work_dir, ignore_errors=True)


def _end_group(process: subprocess.Popen[str]) -> None:
    """Asks the agent to end, then kills whatever is left of its process group."""
    try:
        process.terminate()
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        log.debug("the agent did not end when asked to")
    finally:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            log.debug("the agent's process group is gone")
        process.wait()


def emulator_of(core: Core) -> tuple[list[str], str]:
    """The words before a program's own that run it on `core`, and QEMU's CPU model.

    UserError when qemu, its sysroot or the model is missing on this machine.
    """
    qemu = find_qemu()
    model = choose_model(core, qemu)
    return [qemu, "-cpu", model, "-L", str(find_sysroot()), *DECLARED], model


def find_qemu(arch: str = AARCH64) -> str:
    """The path of qemu-user for ARM; UserError when it is not installed."""
    name = EMULATORS[arch].qemu
    path = shutil.which(name)
    if path is None:
        raise UserError(
            f"{name} not found: apt-get install qemu-user, or use a board: --device rpc://HOST:PORT"
        )
    return path


def find_sysroot(arch: str = AARCH64) -> Path:
    """Where ARM's C library lies: QEMU_LD_PREFIX, or Debian's place; UserError when it is not there."""
    emulator = EMULATORS[arch]
    folder = Path(os.environ.get("QEMU_LD_PREFIX") or emulator.sysroot)
    if not any((folder / "lib").glob(emulator.loader)):
        raise UserError(
            f"no ARM C library in {folder}: apt-get install {emulator.package}, or set QEMU_LD_PREFIX"
        )
    return folder


def choose_model(core: Core, qemu: str) -> str:
    """The first of the core's CPU models that this QEMU knows; UserError when it knows none."""
    listed = subprocess.run([qemu, "-cpu", "help"], capture_output=True, text=True, check=False).stdout
    known = set(listed.split())
    model = next((model for model in core.qemu if model in known), None)
    if model is None:
        raise UserError(
            f"this QEMU cannot emulate {core.name} (needs one of {', '.join(core.qemu)}): "
            "install a newer qemu-user, or use a board"
        )
    return model
