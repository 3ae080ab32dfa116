"""The board's program by itself, under qemu-user: `info`, `run`, and `serve` as TVM's own client sees it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from targets.emulated.board import find_qemu, find_sysroot
from tests.targets.test_devices import bad_library

pytestmark = pytest.mark.emulator

Arrays = tuple[np.ndarray, np.ndarray]


def command(program: Path, *arguments: str, model: str = "cortex-a53") -> list[str]:
    return [find_qemu(), "-cpu", model, "-L", str(find_sysroot()), str(program), *arguments]


def call(program: Path, *arguments: str, model: str = "cortex-a53") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(program, *arguments, model=model), capture_output=True, text=True, check=False
    )


class Server:
    """An agent that serves; `lines` are what it wrote to stderr so far."""

    def __init__(self, agent: Path, folder: Path, *options: str) -> None:
        self._errors = folder / "stderr.txt"
        self.work_dir = folder / "work"
        with self._errors.open("w") as errors:
            self.process = subprocess.Popen(
                command(agent, "serve", "--work-dir", str(self.work_dir), *options),
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        assert self.process.stdout is not None
        self.line = self.process.stdout.readline()
        self.port = int(self.line.rpartition(":")[2])

    @property
    def lines(self) -> list[str]:
        return self._errors.read_text().splitlines()

    def wait_for_line(self, pattern: str, seconds: float = 10) -> str:
        wait_until(lambda: any(re.search(pattern, line) for line in self.lines), seconds, self.lines)
        return next(line for line in self.lines if re.search(pattern, line))

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(10)
        assert self.process.stdout is not None
        self.process.stdout.close()


def wait_until(condition: Callable[[], bool], seconds: float, told: Any = "") -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, told
        time.sleep(0.02)


@pytest.fixture
def serve(agent: Path, tmp_path: Path) -> Iterator[Callable[..., Server]]:
    with ExitStack() as stack:

        def start(*options: str) -> Server:
            server = Server(agent, tmp_path, *options)
            stack.callback(server.close)
            return server

        yield start


@contextmanager
def session(server: Server, key: str = "", seconds: float = 0) -> Iterator[Any]:
    from tvm import rpc

    session = rpc.connect("127.0.0.1", server.port, key, seconds)
    yield session
    session.get_function("CloseRPCConnection")()


def answers(server: Server) -> bool:
    with session(server) as client:
        return json.loads(client.get_function("armature.device_info")())["arch"] == "aarch64"


# -- info


@pytest.mark.parametrize(
    ("model", "has", "has_not"),
    [
        ("cortex-a53", {"crc"}, {"fp16", "dotprod", "lse"}),
        ("cortex-a72", {"crc"}, {"fp16", "dotprod", "lse"}),
        ("cortex-a76", {"crc", "fp16", "dotprod", "lse", "rdm"}, {"i8mm", "sve"}),
        ("max", {"fp16", "dotprod", "lse", "i8mm", "bf16", "sve", "sve2"}, set()),
    ],
)
def test_info_tells_features(agent: Path, model: str, has: set[str], has_not: set[str]) -> None:
    done = call(agent, "info", model=model)
    told = json.loads(done.stdout)
    assert done.returncode == 0
    assert has <= set(told["features"])
    assert not has_not & set(told["features"])
    assert told["agent"] == "0.1.0"
    assert told["cpus"] >= 1


def test_unknown_role_is_refused(agent: Path) -> None:
    done = call(agent, "dance")
    assert done.returncode == 2
    assert "run (the default), serve and info" in done.stderr


# -- run


@pytest.fixture
def bundle(agent: Path, tiny_library: Path, tiny_inputs: Arrays, tmp_path: Path) -> Path:
    folder = tmp_path / "bundle"
    folder.mkdir()
    shutil.copy(agent, folder / "run")
    shutil.copy(tiny_library, folder / "model.so")
    (folder / "interface.txt").write_text(
        "input x float32 2x64\ninput y float32 2x64\noutput sum float32 2x64\noutput relu float32 2x64\n"
    )
    for name, array in zip("xy", tiny_inputs, strict=True):
        array.tofile(tmp_path / f"{name}.bin")
    return folder


def run_bundle(bundle: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    inputs = ["--input", str(bundle.parent / "x.bin"), "--input", str(bundle.parent / "y.bin")]
    return call(bundle / "run", *inputs, *arguments)


def test_run_writes_outputs(bundle: Path, tiny_outputs: Arrays) -> None:
    done = run_bundle(bundle, "--output", str(bundle / "out.bin"))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    got = np.fromfile(bundle / "out.bin", np.float32).reshape(2, 2, 64)
    np.testing.assert_allclose(got, np.stack(tiny_outputs), rtol=1e-6)


def test_run_repeats(bundle: Path) -> None:
    done = run_bundle(bundle, "--repeat", "5", "--json")
    milliseconds = json.loads(done.stdout)["milliseconds"]
    assert len(milliseconds) == 5
    assert min(milliseconds) > 0


@pytest.mark.parametrize(
    ("size", "said"), [(100, "this file has 100"), (516, "more than 512"), (0, "this file has 0")]
)
def test_run_refuses_a_wrong_size(bundle: Path, size: int, said: str) -> None:
    (bundle.parent / "y.bin").write_bytes(bytes(size))
    done = run_bundle(bundle)
    assert done.returncode == 2
    assert "input 'y' wants 512 bytes (float32 2x64)" in done.stderr
    assert said in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--repeat", "0"], "--repeat wants"),
        (["--repeat", "3x"], "--repeat wants"),
        (["--input", "third.bin"], "the network has 2 inputs, --input was given 3 times"),
        (["--nonsense"], "nonsense"),
        (["--json", "stray"], "unexpected argument 'stray'"),
    ],
)
def test_run_refuses_arguments(bundle: Path, arguments: list[str], said: str) -> None:
    done = run_bundle(bundle, *arguments)
    assert done.returncode == 2
    assert said in done.stderr


@pytest.mark.parametrize(
    "line", ["input x float32 2x0", "input x float32 2y64", "tensor x float32 2", "input x f 2 2"]
)
def test_run_refuses_a_broken_interface(bundle: Path, line: str) -> None:
    (bundle / "interface.txt").write_text(line + "\n")
    done = run_bundle(bundle)
    assert done.returncode == 2
    assert f"interface.txt:1: not a tensor: {line}" in done.stderr


def test_run_checks_outputs_against_the_interface(bundle: Path) -> None:
    text = (bundle / "interface.txt").read_text()
    (bundle / "interface.txt").write_text(text.replace("relu float32 2x64", "relu float32 2x65"))
    done = run_bundle(bundle, "--output", str(bundle / "out.bin"))
    assert done.returncode == 1
    assert "output 1 is not a tensor of 520 bytes" in done.stderr
    assert not (bundle / "out.bin").exists()


def test_run_without_a_library_fails(bundle: Path) -> None:
    (bundle / "model.so").unlink()
    done = run_bundle(bundle)
    assert done.returncode == 1
    assert "model.so" in done.stderr


def test_run_helps(agent: Path) -> None:
    done = call(agent, "--help")
    assert done.returncode == 0
    assert "--repeat N" in done.stdout


# -- serve


def test_serve_listens_on_loopback_unless_told(serve: Callable[..., Server]) -> None:
    server = serve()
    assert server.line.startswith("listening on 127.0.0.1:")
    assert server.lines == []
    hexadecimal = f"0100007F:{server.port:04X}"
    assert any(hexadecimal in line for line in Path("/proc/net/tcp").read_text().splitlines())


def test_serve_serves_one_after_the_other(serve: Callable[..., Server]) -> None:
    server = serve()
    assert all(answers(server) for _ in range(3))
    wait_until(lambda: list(server.work_dir.iterdir()) == [], 5)


@pytest.mark.parametrize(
    "bytes_sent",
    [b"", b"GET / HTTP/1.1\r\n\r\n", b"\x71\xf2\x0f\0\xff\xff\xff\x7f", b"\x71\xf2\x0f\0\x03\0\0\0xyz"],
)
def test_serve_survives_garbage(serve: Callable[..., Server], bytes_sent: bytes) -> None:
    server = serve()
    with socket.create_connection(("127.0.0.1", server.port)) as stranger:
        stranger.sendall(bytes_sent)
        if not bytes_sent:  # a silent stranger is let go after some seconds
            start = time.monotonic()
            stranger.settimeout(10)
            assert stranger.recv(4) == b""
            assert 1 < time.monotonic() - start < 8
    assert answers(server)


def test_serve_survives_a_client_that_vanishes(serve: Callable[..., Server]) -> None:
    server = serve()
    key = b"client:"
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(0xFF271.to_bytes(4, "little") + len(key).to_bytes(4, "little") + key)
        assert int.from_bytes(client.recv(4), "little") == 0xFF271
        client.sendall(b"\x20\0\0\0\0\0\0\0half a call")
    assert answers(server)


def test_serve_refuses_another_key(serve: Callable[..., Server]) -> None:
    server = serve("--key", "mine")
    with pytest.raises(Exception, match="cannot find server that matches key"), session(server, "yours"):
        pass
    with session(server, "mine"):
        pass


@pytest.mark.parametrize("ask", [True, False], ids=["asked by the client", "set by the server"])
def test_serve_ends_a_session_when_its_time_is_up(serve: Callable[..., Server], ask: bool) -> None:
    server = serve(*([] if ask else ["--session-timeout", "1"]))
    with pytest.raises(Exception, match="time limit"), session(server, seconds=1 if ask else 0) as client:
        server.wait_for_line("session ended after 1 s")
        client.get_function("armature.device_info")()
    assert answers(server)


GREEDY = """
for (;;) {
  volatile char* block = __builtin_malloc(1 << 20);
  for (int i = 0; i < 1 << 20; i += 4096) block[i] = 1;
}
"""


def test_serve_ends_a_library_that_takes_too_much_memory(
    serve: Callable[..., Server], tmp_path: Path
) -> None:
    server = serve("--memory-limit", "256")
    with (
        pytest.raises(Exception, match=r"session ran out of memory: it had \d+ MiB, allowed are 256 MiB"),
        session(server) as client,
    ):
        client.upload(str(bad_library(tmp_path, GREEDY)), target="bad.so")
        client.load_module("bad.so")
    assert answers(server)


def test_serve_ends_a_library_whose_client_is_gone(serve: Callable[..., Server], tmp_path: Path) -> None:
    server = serve()
    code = (
        "import sys; from tvm import rpc; client = rpc.connect('127.0.0.1', int(sys.argv[1]));"
        "client.upload(sys.argv[2], target='bad.so'); client.load_module('bad.so')"
    )
    library = bad_library(
        tmp_path,
        'extern int creat(const char*, int); creat("loaded", 0600); for (volatile int i = 0;; i++) {}',
    )
    client = subprocess.Popen([sys.executable, "-c", code, str(server.port), str(library)])
    wait_until(lambda: list(server.work_dir.glob("*/loaded")) != [], 20)
    client.kill()
    client.wait()
    server.wait_for_line("its client hung up")
    assert answers(server)


def test_serve_keeps_files_in_the_sessions_folder(serve: Callable[..., Server], tmp_path: Path) -> None:
    server = serve()
    with session(server) as client:
        for name in ("../evil", "/tmp/evil", "..", "a/b"):
            with pytest.raises(Exception, match="plain name"):
                client.upload(bytearray(b"x"), target=name)
            with pytest.raises(Exception, match="plain name"):
                client.load_module(name)
        client.upload(bytearray(b"x"), target="good")
        assert [path.name for path in server.work_dir.rglob("*") if path.is_file()] == ["good"]
    wait_until(lambda: list(server.work_dir.iterdir()) == [], 5)
    assert not list(tmp_path.glob("**/evil"))


def test_serve_removes_its_folder_when_told_to_end(serve: Callable[..., Server]) -> None:
    server = serve()
    with session(server) as client:
        client.upload(bytearray(b"x"), target="file")
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(5) == 0
        assert not server.work_dir.exists()


def test_serve_ends_with_its_parent(agent: Path, tmp_path: Path) -> None:
    options = ["serve", "--exit-with-parent", "$$", "--work-dir", str(tmp_path / "work")]
    shell = " ".join(command(agent, *options)) + " & echo $!; sleep 100"
    parent = subprocess.Popen(["sh", "-c", shell], stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert parent.stdout is not None
    lines = [parent.stdout.readline(), parent.stdout.readline()]
    child = int(next(line for line in lines if line.strip().isdecimal()))
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    try:
        wait_until(lambda: not Path(f"/proc/{child}").exists(), 5)
        assert not (tmp_path / "work").exists()
    finally:
        os.killpg(parent.pid, signal.SIGKILL)  # the shell's sleep
        parent.stdout.close()


@pytest.mark.parametrize(
    "options",
    [
        ["--port", "70000"],
        ["--tracker", "here:1"],
        ["--tracker", "here", "--key", "k"],
        ["--key", 'a"b'],
        ["stray"],
    ],
)
def test_serve_refuses_arguments(agent: Path, options: list[str]) -> None:
    assert call(agent, "serve", *options).returncode == 2
