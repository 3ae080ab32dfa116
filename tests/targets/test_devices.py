"""Devices as the rest of Armature sees them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from targets.cores import Core, find_core
from targets.device import open_device
from targets.emulated import board as emulated
from targets.emulated.board import EmulatedBoard
from targets.errors import DeviceError, UserError

Arrays = tuple[np.ndarray, np.ndarray]
A53 = find_core("cortex-a53")

leaves_nothing = pytest.mark.usefixtures("emulator_left_clean")


def agents(parent: int | None = None) -> list[psutil.Process]:
    """Emulated agents started by this process, or by `parent`, alive or left behind."""
    wanted = f"--exit-with-parent {parent or os.getpid()}"
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if wanted in " ".join(process.info["cmdline"] or []):
            found.append(process)
    return found


def wait_for_no_agents(parent: int, seconds: float = 5) -> None:
    deadline = time.monotonic() + seconds
    while agents(parent):
        assert time.monotonic() < deadline, agents(parent)
        time.sleep(0.05)


@pytest.fixture
def emulator_left_clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    yield
    assert agents() == []
    assert list(temporary.iterdir()) == []


def bad_library(folder: Path, body: str) -> Path:
    """A library that runs `body` when it is loaded."""
    from targets.toolchain import compile_object, link_shared

    (folder / "crash.c").write_text(f"__attribute__((constructor)) static void start(void) {{ {body} }}\n")
    compile_object(folder / "crash.c", folder / "crash.o", ["-O0"])
    link_shared([folder / "crash.o"], folder / "crash.so")
    return folder / "crash.so"


# -- names


@pytest.mark.parametrize(
    "spec",
    ["", "board", "emulated:", "emulated/x", "rpc", "rpc:pi", "rpc://pi", "rpc://:9", "rpc://pi:99999", "rpc://pi:1/x",
     "tracker://t:1", "tracker://t:1/", "tracker://t:1/a/b", "host:1"],
)  # fmt: skip
def test_unknown_device_lists_the_forms(spec: str) -> None:
    with pytest.raises(UserError, match=r"unknown device .*(emulated:CORE|HOST:PORT)"):
        open_device(spec)


def test_unknown_core_is_named() -> None:
    with pytest.raises(UserError, match="cortex-a99"):
        open_device("emulated:cortex-a99")


def test_missing_qemu_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emulated.shutil, "which", lambda _: None)
    with pytest.raises(UserError, match="apt-get install qemu-user"), open_device("emulated", A53):
        pass


def test_missing_sysroot_names_the_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("QEMU_LD_PREFIX", str(tmp_path))
    with pytest.raises(UserError, match="apt-get install libc6-arm64-cross"):
        emulated.find_sysroot()


def test_model_unknown_to_qemu_is_named() -> None:
    core = Core("cortex-z1", "", "", frozenset(), True, 1, 1, 1, 1, 1, None, ("cortex-z1", "cortex-z0"))
    with pytest.raises(UserError, match="cannot emulate cortex-z1"):
        emulated.choose_model(core, emulated.find_qemu())


@pytest.mark.parametrize("spec", ["rpc://127.0.0.1:9", "tracker://127.0.0.1:9/pi"])
def test_unreachable_board_is_told(spec: str) -> None:
    with pytest.raises(DeviceError, match=r"not reachable.*running there"), open_device(spec):
        pass


# -- the emulated board


@pytest.mark.emulator
@leaves_nothing
@pytest.mark.parametrize(
    ("name", "has"), [("cortex-a53", False), ("cortex-a72", False), ("cortex-a76", True)]
)
def test_features_are_the_cores(name: str, has: bool) -> None:
    with open_device(f"emulated:{name}") as device:
        assert device.spec == f"emulated:{name}"
        assert device.core == find_core(name)
        assert name in device.description
        assert ("dotprod" in device.features) == ("fp16" in device.features) == has
        assert device.features <= find_core(name).features


@pytest.mark.emulator
@leaves_nothing
def test_round_trip(tiny_library: Path, tiny_inputs: Arrays, tiny_outputs: Arrays) -> None:
    with open_device("emulated", A53) as device:
        program = device.load(tiny_library)
        for scale in (1, -1):
            got = program.run(tiny_inputs[0] * scale, tiny_inputs[1])
            assert len(got) == 2
            np.testing.assert_allclose(got[1], tiny_outputs[1], rtol=1e-6)
        np.testing.assert_allclose(program.run(*tiny_inputs)[0], tiny_outputs[0], rtol=1e-6)
        second = device.load(tiny_library)
        np.testing.assert_allclose(second.run(*tiny_inputs)[0], tiny_outputs[0], rtol=1e-6)


@pytest.mark.emulator
@leaves_nothing
def test_wrong_inputs_are_an_error_and_the_session_goes_on(tiny_library: Path, tiny_inputs: Arrays) -> None:
    with open_device("emulated", A53) as device:
        program = device.load(tiny_library)
        with pytest.raises(DeviceError, match="while running the network"):
            program.run(tiny_inputs[0])
        with pytest.raises(DeviceError, match="while running the network"):
            program.run(tiny_inputs[0][:1], tiny_inputs[1])
        assert len(program.run(*tiny_inputs)) == 2


@pytest.mark.emulator
@leaves_nothing
@pytest.mark.parametrize(
    ("body", "name"),
    [("*(volatile int*)0 = 1;", "SIGSEGV"), (".", "SIGILL"), ("__builtin_trap();", "SIGTRAP")],
)
def test_crash_is_told_and_the_next_session_works(body: str, name: str, tmp_path: Path) -> None:
    from targets.rpc import connect_board

    library = bad_library(tmp_path, 'asm volatile("udf #0");' if body == "." else body)
    with EmulatedBoard(A53) as board:
        with (
            pytest.raises(DeviceError, match=f"the library crashed on emulated:cortex-a53: {name}.*signal"),
            connect_board(board) as device,
        ):
            device.load(library)
        with connect_board(board) as device:
            assert "crc" in device.features


@pytest.mark.emulator
@leaves_nothing
def test_broken_library_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "broken.so").write_bytes(b"not a library")
    with (
        open_device("emulated", A53) as device,
        pytest.raises(DeviceError, match=r"failed while loading broken\.so"),
    ):
        device.load(tmp_path / "broken.so")


@pytest.mark.emulator
@leaves_nothing
def test_session_timeout_is_told(tiny_library: Path, tiny_inputs: Arrays) -> None:
    with open_device("emulated", A53, session_timeout=1.0) as device:
        assert device.session_timeout == 1.0
        program = device.load(tiny_library)
        time.sleep(1.5)
        with pytest.raises(DeviceError, match="ended the session after 1 s, its time limit"):
            program.run(*tiny_inputs)


@pytest.mark.emulator
@leaves_nothing
def test_library_that_hangs_ends_when_its_time_is_up(tmp_path: Path) -> None:
    library = bad_library(tmp_path, "for (volatile int i = 0;; i++) {}")
    with (
        open_device("emulated", A53, session_timeout=1.0) as device,
        pytest.raises(DeviceError, match="time limit"),
    ):
        device.load(library)


@pytest.mark.emulator
@leaves_nothing
def test_interrupt_ends_a_library_that_hangs(tmp_path: Path) -> None:
    library = bad_library(tmp_path, "for (volatile int i = 0;; i++) {}")
    interrupt = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
    with pytest.raises(KeyboardInterrupt), open_device("emulated", A53) as device:
        interrupt.start()
        device.load(library)


@pytest.mark.emulator
@leaves_nothing
def test_dead_agent_is_told(tiny_library: Path, tiny_inputs: Arrays) -> None:
    with open_device("emulated", A53) as device:
        program = device.load(tiny_library)
        for process in agents():
            process.kill()
        with pytest.raises(DeviceError, match="link was lost while running the network"):
            program.run(*tiny_inputs)


# -- nothing is left behind

HOLDS_A_BOARD = textwrap.dedent(
    """
    import sys, time
    from targets.device import open_device
    with open_device("emulated:cortex-a53") as device:
        print("ready", flush=True)
        time.sleep(60)
    """
)


@pytest.mark.emulator
@pytest.mark.parametrize(
    "number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name
)
def test_no_process_outlives_its_parent(number: signal.Signals, tmp_path: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDS_A_BOARD],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
        start_new_session=True,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "ready\n"
    assert agents(holder.pid)
    holder.send_signal(number)
    holder.wait(20)
    holder.stdout.close()
    wait_for_no_agents(holder.pid)
    assert list(tmp_path.glob("armature-*")) == []


@pytest.mark.emulator
@leaves_nothing
def test_exception_ends_the_board() -> None:
    with pytest.raises(ZeroDivisionError), open_device("emulated", A53):
        raise ZeroDivisionError


# -- boards over RPC


@pytest.mark.emulator
@leaves_nothing
def test_direct(tiny_library: Path, tiny_inputs: Arrays, tiny_outputs: Arrays) -> None:
    with EmulatedBoard(A53) as board, open_device(f"rpc://127.0.0.1:{board.port}") as device:
        assert device.core is None
        assert device.features == {"crc"}
        np.testing.assert_allclose(device.load(tiny_library).run(*tiny_inputs)[0], tiny_outputs[0], rtol=1e-6)


@pytest.mark.emulator
@leaves_nothing
def test_busy_board_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from targets import rpc

    monkeypatch.setattr(rpc, "CONNECT_SECONDS", 1.0)
    with EmulatedBoard(A53) as board:
        spec = f"rpc://127.0.0.1:{board.port}"
        with (
            open_device(spec),
            pytest.raises(DeviceError, match=r"another client may hold it \(1 before us\)"),
            open_device(spec),
        ):
            pass
        monkeypatch.undo()


@pytest.mark.emulator
def test_tracker(agent: Path, tiny_library: Path, tiny_inputs: Arrays, tiny_outputs: Arrays) -> None:
    for module in ("tornado", "cloudpickle"):
        pytest.importorskip(module, reason="TVM's tracker needs it")
    from tvm.rpc.tracker import Tracker

    tracker = Tracker("127.0.0.1", port=19190, port_end=19290, silent=True)
    place = f"127.0.0.1:{tracker.port}"
    program = [emulated.find_qemu(), "-cpu", "cortex-a53", "-L", str(emulated.find_sysroot()), str(agent)]
    options = ["serve", "--tracker", place, "--key", "pi", "--exit-with-parent", str(os.getpid())]
    server = subprocess.Popen([*program, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert server.stderr is not None
        assert "registered at tracker" in server.stderr.readline()
        for _ in range(2):  # it comes back to the tracker after a session
            with open_device(f"tracker://{place}/pi") as device:
                got = device.load(tiny_library).run(*tiny_inputs)
                np.testing.assert_allclose(got[0], tiny_outputs[0], rtol=1e-6)
        with pytest.raises(DeviceError, match="no board of key 'phone' is registered; there are: pi"):
            open_device(f"tracker://{place}/phone").__enter__()
        tracker.terminate()
        assert "tracker 127.0.0.1" in server.stderr.readline()
        tracker = Tracker("127.0.0.1", port=tracker.port, port_end=tracker.port + 1, silent=True)
        assert any("registered at tracker" in server.stderr.readline() for _ in range(3))
        with open_device(f"tracker://{place}/pi") as device:
            assert device.features == {"crc"}
    finally:
        server.terminate()
        server.communicate(timeout=10)
        tracker.terminate()
    assert agents() == []
