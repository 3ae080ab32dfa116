"""`armature board register`: a board behind a real sshd, held, relayed and offered at TVM's own tracker.

The relay is a process of its own, as in life: TVM's client waits for answers while it has Python's lock.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest

from targets.device import find_boards, open_device
from targets.errors import DeviceError, LostError, UserError
from targets.farm import drain_boards, list_boards
from targets.place import Place, ask, greet
from targets.relay.registration import check_key, find_linked
from targets.relay.relay import MOST_CLIENTS
from targets.tracker import Tracker
from tests.targets.board_folder import wait_until
from tests.targets.sshd import SSHD, Sshd
from tests.targets.test_token import TOKEN, token_file
from tests.tuning.farm import Process, free_port

pytestmark = [
    pytest.mark.emulator,
    pytest.mark.skipif(not SSHD.exists(), reason="sshd is missing (Debian: openssh-server)"),
]

Arrays = tuple[np.ndarray, np.ndarray]


class Tracking(Process):
    """TVM's tracker, which can be killed and started again at the same port."""

    def __init__(self) -> None:
        self.port = free_port()
        address = ("--host", "127.0.0.1", "--port", self.port, "--port-end", self.port + 1)
        super().__init__(sys.executable, "-m", "tvm.exec.rpc_tracker", *address)


class Register:
    """The command, which registers the boards; `lines` are what it said so far."""

    def __init__(self, folder: Path, tracker: int, *boards: str) -> None:
        self._said = folder / "register.txt"
        command = [sys.executable, "-m", "compile.cli", "board", "register", *boards, "--json"]
        command += ["--tracker", f"127.0.0.1:{tracker}", "--key", "pi", "--token-file", str(folder / "token")]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        with self._said.open("w") as errors:
            self.process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment
            )

    @property
    def said(self) -> str:
        return self._said.read_text()

    def end(self, number: int = signal.SIGINT) -> tuple[int, list[dict[str, object]]]:
        """Its exit code and what it tells of its boards, once it was asked to end."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        output, _ = self.process.communicate(timeout=30)
        return self.process.returncode, json.loads(output)


@pytest.fixture
def sshd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sshd]:
    server = Sshd(tmp_path / "board")
    monkeypatch.setenv("ARMATURE_CONFIG", str(server.folder / "config"))
    monkeypatch.setenv("ARMATURE_TOKEN", TOKEN)
    token_file(tmp_path)
    yield server
    server.stop()


@pytest.fixture
def tracking() -> Iterator[Tracking]:
    tracker = Tracking()
    yield tracker
    tracker.kill()


@contextmanager
def registered(folder: Path, tracking: Tracking, *boards: str) -> Iterator[Register]:
    register = Register(folder, tracking.port, *(boards or ("pi",)))
    try:
        wait_until(lambda: offered(tracking) == 1, 60)
        yield register
    finally:
        register.process.kill()
        register.process.wait()
        assert register.process.stdout is not None
        register.process.stdout.close()


def spec_of(tracking: Tracking) -> str:
    return f"tracker://127.0.0.1:{tracking.port}/pi"


def tracker_of(tracking: Tracking) -> Tracker:
    found = find_boards(spec_of(tracking))
    assert isinstance(found, Tracker)
    return found


def offered(tracking: Tracking) -> int:
    with suppress(DeviceError):
        return len(tracker_of(tracking).boards())
    return 0


def relay_of(tracking: Tracking, token: str = TOKEN) -> Place:
    ((_, place),) = tracker_of(tracking).boards()
    return Place(place.host, place.port, token=token)


def nothing_runs(server: Sshd) -> bool:
    return server.on_board() == [] and not list(server.home.rglob("work-*"))


# -- as it should be


def test_board_is_offered_used_drained_and_left_clean(
    sshd: Sshd, tracking: Tracking, tmp_path: Path, tiny_library: Path, tiny_inputs: Arrays
) -> None:
    with registered(tmp_path, tracking) as register:
        for _ in range(2):  # it is offered again after a session
            with open_device(spec_of(tracking)) as device:
                assert len(device.load(tiny_library).run(*tiny_inputs)) == 2
                (busy,) = list_boards([spec_of(tracking)])
                assert busy.state == "busy"
        wait_until(lambda: [seen.state for seen in list_boards([spec_of(tracking)])] == ["free"])
        assert "pi: busy: client 127.0.0.1:" in register.said
        with open_device(spec_of(tracking)):
            (seen,) = drain_boards(spec_of(tracking))
            assert seen.state == "draining"
            wait_until(lambda: offered(tracking) == 0)
            assert register.process.poll() is None
        assert register.process.wait(30) == 0
        _, (told,) = register.end()
        assert (told["board"], told["state"], told["sessions"], told["links"]) == ("pi", "drained", 3, 1)
    wait_until(lambda: nothing_runs(sshd))


# -- who is let in


def test_who_has_not_the_token_is_kept_out(sshd: Sshd, tracking: Tracking, tmp_path: Path) -> None:
    from tvm import rpc

    with registered(tmp_path, tracking) as register:
        for token, said in (("", "wants the token"), (TOKEN[::-1], "refused our token")):
            for request in ("status", "drain"):
                with pytest.raises(DeviceError, match=said):
                    ask("pi", relay_of(tracking, token), request)
        place = relay_of(tracking)
        with pytest.raises(Exception, match=r"."):  # TVM's own client knows of no token
            rpc.connect(place.host, place.port)
        wait_until(lambda: "is not served: it gave no token" in register.said)
        with pytest.raises(DeviceError, match="of another key"):  # the tracker did not send it
            greet("pi", place, "", 10)
        sent = tracker_of(tracking).request()
        greet("pi", sent, "", 10).close()
        with pytest.raises(DeviceError, match="of another key"):  # that holds once
            greet("pi", sent, "", 10)
        wait_until(lambda: [seen.state for seen in list_boards([spec_of(tracking)])] == ["free"])
        assert sshd.agents() != []


@pytest.mark.slow
@pytest.mark.usefixtures("sshd")
def test_board_that_was_taken_and_left_is_offered_again(tracking: Tracking, tmp_path: Path) -> None:
    with registered(tmp_path, tracking):
        left = tracker_of(tracking).request()
        again = tracker_of(tracking).request(30)
        assert again.match_key != left.match_key
        greet("pi", again, "", 10).close()


@pytest.mark.slow
@pytest.mark.usefixtures("sshd")
def test_silent_clients_keep_nobody_out_for_long(tracking: Tracking, tmp_path: Path) -> None:
    with registered(tmp_path, tracking) as register:
        place = relay_of(tracking)
        silent = [socket.create_connection((place.host, place.port)) for _ in range(2 * MOST_CLIENTS)]
        start = time.monotonic()

        def answers() -> bool:
            with suppress(LostError):
                return ask("pi", place, "status") != ""
            return False

        wait_until(answers, 60)
        assert time.monotonic() - start < 40
        wait_until(lambda: "it said too little" in register.said)
        for each in silent:
            each.close()


# -- faults


@pytest.mark.slow
def test_tracker_that_was_started_anew_has_its_board(sshd: Sshd, tracking: Tracking, tmp_path: Path) -> None:
    with registered(tmp_path, tracking) as register:
        tracking.kill()
        wait_until(lambda: "pi: no tracker" in register.said)
        tracking.start()
        wait_until(lambda: offered(tracking) == 1, 60)
        with open_device(spec_of(tracking)):
            assert len(sshd.agents()) > 0
        _, (told,) = register.end(signal.SIGTERM)
        assert (told["links"], told["state"]) == (1, "ended")


def test_link_that_is_cut_in_mid_run_comes_back(
    sshd: Sshd, tracking: Tracking, tmp_path: Path, tiny_library: Path, tiny_inputs: Arrays
) -> None:
    with registered(tmp_path, tracking) as register:
        with open_device(spec_of(tracking)) as device:
            program = device.load(tiny_library)
            sshd.cut()
            with pytest.raises(LostError, match="is gone"):
                program.run(*tiny_inputs)
        wait_until(lambda: "pi: unreachable" in register.said)
        wait_until(lambda: offered(tracking) == 1, 60)
        with open_device(spec_of(tracking)) as device:
            device.load(tiny_library).run(*tiny_inputs)
        _, (told,) = register.end()
        assert (told["links"], told["state"]) == (2, "ended")


@pytest.mark.slow
def test_board_that_reboots_comes_back(sshd: Sshd, tracking: Tracking, tmp_path: Path) -> None:
    """Everything on the board is killed, and its address answers again after ten seconds."""
    with registered(tmp_path, tracking) as register:
        sshd.stop()
        wait_until(lambda: offered(tracking) == 0)
        with pytest.raises(DeviceError, match="no board of key 'pi'"), open_device(spec_of(tracking)):
            pass
        back = threading.Timer(10, sshd.start)
        back.start()
        wait_until(lambda: offered(tracking) == 1, 90)
        back.join()
        with open_device(spec_of(tracking)):
            assert sshd.agents() != []
        _, (told,) = register.end()
        assert told["links"] == 2
        assert "is not reachable" in register.said


@pytest.mark.slow
@pytest.mark.usefixtures("sshd")
def test_board_out_of_reach_is_told_in_the_end(tracking: Tracking, tmp_path: Path) -> None:
    away = f"ssh://nobody@127.0.0.1:{free_port()}"
    with registered(tmp_path, tracking, "pi", away) as register:
        wait_until(lambda: f"{away}: unreachable" in register.said)
        code, told = register.end()
        assert code == 1
        assert [row["state"] for row in told] == ["ended", "unreachable"]
        assert "is not reachable" in str(told[1]["last_error"])


# -- what cannot be used


def test_what_cannot_be_registered_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ARMATURE_CONFIG", str(tmp_path))
    for spec in ("emulated", "rpc://127.0.0.1:9", "tracker://127.0.0.1:9/pi"):
        with pytest.raises(UserError, match="not reached by SSH"):
            find_linked([spec])
    with pytest.raises(UserError, match="named twice"):
        find_linked(["ssh://pi", "ssh://pi"])
    for key in ("", "a b", "x" * 64, 'a"b'):
        with pytest.raises(UserError, match="--key wants"):
            check_key(key)
