"""Emulated boards behind a tracker, each a process to be killed or frozen; and candidates written in C."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np

from compile.tuning.board_process import LIBRARY, write_call
from compile.tuning.candidate import Inputs
from targets.agent.build import build_agent
from targets.emulated.board import DECLARED, find_qemu, find_sysroot
from targets.emulated.kernel import SYMBOL, Argument
from targets.toolchain import compile_object, link_shared

KEY = "pi"
MEMORY_MIB = 384
"""What a library may have: the emulator itself takes some tens."""


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as any_socket:
        any_socket.bind(("127.0.0.1", 0))
        return int(any_socket.getsockname()[1])


class Process:
    """A process in a group of its own."""

    def __init__(self, *command: object) -> None:
        self._command = [str(word) for word in command]
        self.start()

    def start(self) -> None:
        """Start it, or start it again."""
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def send(self, number: signal.Signals) -> None:
        """Send a signal to it and its children."""
        os.killpg(self._process.pid, number)

    def kill(self) -> None:
        """End it at once, as when the power goes."""
        if self._process.poll() is None:
            self.send(signal.SIGKILL)
            self._process.wait()


class Agent(Process):
    """An emulated board."""

    def __init__(self, *options: object) -> None:
        self.port = free_port()
        self._work_dir = tempfile.TemporaryDirectory()
        qemu = [find_qemu(), "-cpu", "cortex-a53", "-L", find_sysroot(), *DECLARED]
        serve = [build_agent(), "serve", "--port", self.port, "--memory-limit", MEMORY_MIB]
        serve += ["--work-dir", self._work_dir.name, "--exit-with-parent", os.getpid()]
        super().__init__(*qemu, *serve, *options)

    @property
    def place(self) -> str:
        """As it is called in messages."""
        return f"127.0.0.1:{self.port}"

    def sessions(self) -> list[int]:
        """The processes of clients' sessions."""
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        return [int(each) for each in children.read_text().split()]


class Farm:
    """A tracker with boards."""

    def __init__(self, count: int) -> None:
        self.port = free_port()
        self.tracker = Process(
            *(sys.executable, "-m", "tvm.exec.rpc_tracker", "--host", "127.0.0.1"),
            *("--port", self.port, "--port-end", self.port + 1),
        )
        wait_until(self._tracker_answers)
        self.agents = [Agent("--tracker", f"127.0.0.1:{self.port}", "--key", KEY) for _ in range(count)]
        wait_until(lambda: self.registered() == count)

    @property
    def spec(self) -> str:
        """The boards as a device."""
        return f"tracker://127.0.0.1:{self.port}/{KEY}"

    def registered(self) -> int:
        """How many boards the tracker knows."""
        from targets.device import find_boards
        from targets.errors import DeviceError

        try:
            return find_boards(self.spec).count()
        except DeviceError:
            return 0

    def _tracker_answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True

    def kill(self) -> None:
        """End all of it."""
        for process in (*self.agents, self.tracker):
            process.kill()


@contextmanager
def farm(count: int) -> Iterator[Farm]:
    """A tracker with so many boards."""
    with ExitStack() as stack:
        made = Farm.__new__(Farm)
        made.agents = []
        stack.callback(made.kill)
        made.__init__(count)
        yield made


def wait_until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait for something that must come."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


VALUES = np.arange(8, dtype=np.float32)


def candidate(folder: Path, body: str) -> Path:
    """A built candidate whose kernel runs `body`: `x` are eight numbers, and `y` is to be twice as much.

    A file `called.PID` in its folder says that it was called, and in which process.
    """
    folder.mkdir(parents=True)
    (folder / "kernel.c").write_text(
        "typedef struct { int type, zero; void* pointer; } Any;\n"
        "void* malloc(unsigned long);\n"
        "int getpid(void), creat(const char*, int), sprintf(char*, const char*, ...);\n"
        f"int __tvm_ffi_{SYMBOL}(void* self, const Any* arguments, int count, Any* result) {{\n"
        "  float *x = *(float**)arguments[0].pointer, *y = *(float**)arguments[1].pointer;\n"
        "  char mark[256];\n"
        f'  sprintf(mark, "{folder}/called.%d", getpid());\n'
        "  creat(mark, 0600);\n"
        f"  {body}\n"
        "  return 0;\n"
        "}\n"
    )
    compile_object(folder / "kernel.c", folder / "kernel.o", ["-O1", "-fno-builtin"])
    link_shared([folder / "kernel.o"], folder / LIBRARY)
    arguments = [Argument("data", (8,), values=VALUES), Argument("output", (8,))]
    write_call(folder, arguments, Inputs(("data", "output"), (VALUES,), 2 * VALUES))
    return folder


GOOD = "for (int i = 0; i < 8; i++) y[i] = 2 * x[i];"
