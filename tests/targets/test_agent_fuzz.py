"""The agent's port under hostile clients: its C, with sanitizers, on this machine.

TVM's runtime in it is the wheel's, without sanitizers. After the handshake a client may make that crash: then
its session's process dies, and nothing else.
"""

from __future__ import annotations

import os
import re
import subprocess
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from targets.agent.sources import C_FLAGS, SRC, wheel_folder
from targets.errors import DeviceError
from targets.place import Place, ask
from targets.rpc import connect_place
from tests.targets.fuzzing import Client, Script, changed, parse, read_corpus, spell
from tests.targets.test_token import TOKEN
from tests.tuning.farm import wait_until

ARM_ONLY = ("info.c", "board_state.c")
"""What reads an ARM board; fuzz_host.c stands for it."""
HOST = Path(__file__).with_name("fuzz_host.c")
SANITIZED = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer")
MEMORY_MIB, DISK_MIB, SESSION_SECONDS = 256, 8, 1
MOST_OPEN = 3
"""Connections that are left open while others come."""
CHECKED_EVERY = 50
# In a report of AddressSanitizer, the innermost calls: further out, all that a session does is ours.
_OURS = re.compile(r"runtime error|#[0-2] [^\n]*agent/src/")

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the agent is for Linux")


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The agent for this machine, with and without sanitizers."""
    folder = tmp_path_factory.mktemp("agents")
    return {
        "sanitized": _build(folder / "sanitized", *SANITIZED),
        "plain": _build(folder / "plain"),
    }


def _build(program: Path, *flags: str) -> Path:
    ffi, tvm = wheel_folder("tvm_ffi"), wheel_folder("tvm")
    libraries = (tvm / "lib", ffi / "lib")
    sources = [path for path in SRC.glob("*.c") if path.name not in ARM_ONLY]
    command = ["gcc", *C_FLAGS, "-O1", "-g", *flags, f"-I{SRC}", f"-I{ffi / 'include'}"]
    command += [
        f"-I{ffi / '3rdparty' / 'dlpack' / 'include'}",
        *map(str, sources),
        str(HOST),
        "-o",
        str(program),
    ]
    command += [f"-L{folder}" for folder in libraries] + [f"-Wl,-rpath,{folder}" for folder in libraries]
    command += ["-Wl,--no-as-needed", "-ltvm_ffi", "-ltvm_runtime", "-ltvm_runtime_extra"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return program


class Target:
    """An agent under attack, in a folder with things that it must not touch."""

    def __init__(self, program: Path, folder: Path, token: str, memory_mib: int) -> None:
        self.token, self.work = token, folder / "tree" / "work"
        self.work.mkdir(parents=True)
        self._tree = folder / "tree"
        for canary in (self._tree / "canary", folder / "tree" / "work-canary"):
            canary.write_text("untouched")
        self._log = folder / "agent.txt"
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("ARMATURE_TOKEN")},
            **({"ARMATURE_TOKEN": token} if token else {}),
            "ASAN_OPTIONS": "detect_leaks=0:quarantine_size_mb=1:abort_on_error=0",
        }
        options = ["--work-dir", str(self.work), "--session-timeout", str(SESSION_SECONDS)]
        options += ["--memory-limit", str(memory_mib), "--disk-limit", str(DISK_MIB)]
        with self._log.open("w") as errors:
            self.process = subprocess.Popen(
                [str(program), "serve", *options],
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=environment,
                cwd=self._tree,
            )
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline().rpartition(":")[2])
        self._outside = self._snapshot()
        self._descriptors = psutil.Process(self.process.pid).num_fds()
        self._resident = psutil.Process(self.process.pid).memory_info().rss
        self._open: deque[Client] = deque()
        self.most_kib = 0
        """Of memory, that a session was seen to have."""
        self._ended = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    @property
    def place(self) -> Place:
        return Place("127.0.0.1", self.port, token=self.token)

    def hear(self, script: Script) -> None:
        """A client says all that, and hangs up some clients later."""
        client = Client(self.port, self.token)
        client.say(script)
        self._open.append(client)
        if len(self._open) > MOST_OPEN:
            self._open.popleft().close()

    def check(self) -> None:
        """It runs, answers, has kept to its folder, and has not grown."""
        while self._open:
            self._open.popleft().close()
        assert self.process.poll() is None, self.log[-3000:]
        wait_until(self._is_idle, 60)
        assert self._snapshot() == self._outside
        process = psutil.Process(self.process.pid)
        assert process.memory_info().rss < self._resident + (24 << 20)
        wait_until(lambda: process.num_fds() <= self._descriptors, 5)
        assert not _OURS.search(self.log), self.log[-3000:]

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def end(self) -> int:
        """Its exit code."""
        self._ended.set()
        self._watcher.join()
        self.process.terminate()
        assert self.process.stdout is not None
        self.process.stdout.close()
        return self.process.wait(10)

    def _watch(self) -> None:
        """The most memory that the processes of sessions have had."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        while not self._ended.wait(0.02):
            with suppress(OSError):
                for child in children.read_text().split():
                    found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{child}/status").read_text())
                    self.most_kib = max(self.most_kib, int(found[1]) if found else 0)

    def _is_idle(self) -> bool:
        with suppress(DeviceError):
            return "waiting 0" in ask("it", self.place, "status") and list(self.work.iterdir()) == []
        return False

    def _snapshot(self) -> dict[str, str]:
        """What lies around the agent's folder, and in the folder of temporary files where names may lead."""
        found = [path for path in self._tree.rglob("*") if not path.is_relative_to(self.work)]
        return {str(path): path.read_text() for path in [*found, Path("/tmp/canary")] if path.is_file()}


@contextmanager
def attacked(program: Path, folder: Path, token: str, memory_mib: int) -> Iterator[Target]:
    target = Target(program, folder, token, memory_mib)
    try:
        yield target
        target.check()
    finally:
        code = target.end()
    assert code == 0
    if memory_mib:
        assert 0 < target.most_kib < (memory_mib + 64) * 1024


def attack(target: Target, scripts: Iterator[tuple[str, Script]]) -> None:
    """Say all that; when something is wrong, the last ones are told, to be kept in the corpus."""
    last: deque[str] = deque(maxlen=CHECKED_EVERY)
    for number, (name, script) in enumerate(scripts):
        last.append(f"-- {name}\n{spell(script)}"[:2000])
        try:
            target.hear(script)
            if number % CHECKED_EVERY == CHECKED_EVERY - 1:
                target.check()
        except (AssertionError, OSError) as error:
            pytest.fail(f"{error}\nafter one of:\n" + "\n".join(last))


def drawn(first: int, count: int) -> Iterator[tuple[str, Script]]:
    corpus = read_corpus()
    return ((f"seed {seed}", changed(corpus, seed)) for seed in range(first, first + count))


KINDS = {
    "sanitized, with a token": ("sanitized", TOKEN, 0),  # RLIMIT_DATA would be the sanitizer's, too
    "sanitized": ("sanitized", "", 0),
    "plain, with limits": ("plain", "", MEMORY_MIB),
}


@pytest.mark.parametrize("kind", KINDS)
def test_hostile_clients(programs: dict[str, Path], tmp_path: Path, kind: str) -> None:
    name, token, memory_mib = KINDS[kind]
    with attacked(programs[name], tmp_path, token, memory_mib) as target:
        attack(target, iter(read_corpus().items()))
        attack(target, drawn(1000 * list(KINDS).index(kind), 60))
        if token:
            return
        with connect_place("it", target.place) as device:  # it still serves
            device.link.session.upload(bytearray(b"x"), target="file")
            assert bytes(device.link.session.download("file")) == b"x"


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_hostile_clients_for_minutes(programs: dict[str, Path], tmp_path: Path, kind: str) -> None:
    name, token, memory_mib = KINDS[kind]
    with attacked(programs[name], tmp_path, token, memory_mib) as target:
        attack(target, drawn(100_000 * (1 + list(KINDS).index(kind)), 1500))


def test_conversations_can_be_kept() -> None:
    for script in read_corpus().values():
        assert parse(spell(script)) == script
    assert changed(read_corpus(), 7) == changed(read_corpus(), 7)
