"""The agent's door and its sessions: who waits is told its place, and nothing outlives a session."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from targets.errors import DeviceError, LostError
from targets.place import Place, answers, greet
from targets.rpc import connect_place
from tests.targets.test_agent import Server, wait_until
from tests.targets.test_agent import session as tvm_session
from tests.targets.test_devices import bad_library

pytestmark = pytest.mark.emulator


@pytest.fixture
def serve(agent: Path, tmp_path: Path) -> Iterator[Callable[..., Server]]:
    with ExitStack() as stack:

        def start(*options: str) -> Server:
            server = Server(agent, tmp_path, *options)
            stack.callback(server.close)
            return server

        yield start


def place_of(server: Server) -> Place:
    return Place("127.0.0.1", server.port)


def in_line(server: Server) -> tuple[socket.socket, Callable[[], bytes]]:
    """A client that waits for its turn, and what the agent has told it since."""
    connection = socket.create_connection(("127.0.0.1", server.port))
    connection.sendall(b"ARM1" + os.urandom(32))
    assert connection.recv(1) == b"O"
    connection.sendall(0xFF271.to_bytes(4, "little") + len(b"client:").to_bytes(4, "little") + b"client:")

    def told() -> bytes:
        connection.settimeout(2)
        return connection.recv(2)

    return connection, told


def leftovers(server: Server) -> tuple[int, int, list[Path]]:
    """The agent's open files and children, and what lies in its folder."""
    process = psutil.Process(server.process.pid)
    return process.num_fds(), len(process.children(recursive=True)), list(server.work_dir.iterdir())


def running_in(folder: Path) -> list[psutil.Process]:
    """The processes whose folder is in this one."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if Path(process.cwd()).is_relative_to(folder):
                found.append(process)
    return found


# -- the queue


def test_queue_tells_positions_in_the_order_of_coming(serve: Callable[..., Server]) -> None:
    server = serve()
    with connect_place("rpc://pi:9", place_of(server)) as _:
        first, first_told = in_line(server)
        assert first_told() == b"Q\x01"
        second, second_told = in_line(server)
        assert second_told() == b"Q\x02"
        third, third_told = in_line(server)
        assert third_told() == b"Q\x03"
        second.close()
        assert third_told() == b"Q\x02"
    assert first_told()[:1] == b"G"
    first.close()
    assert b"G" in third_told() + third_told()
    third.close()
    assert answers(place_of(server), 5)


def test_who_waits_gets_the_board_when_it_is_free(serve: Callable[..., Server]) -> None:
    server = serve()
    done: list[str] = []

    def use(number: int) -> None:
        with connect_place(f"rpc://pi:{number}", place_of(server)) as device:
            done.append(device.description)

    with connect_place("rpc://pi:0", place_of(server)):
        clients = [threading.Thread(target=use, args=(number,)) for number in range(1, 4)]
        for client in clients:
            client.start()
        time.sleep(0.5)
        assert done == []
    for client in clients:
        client.join(20)
    assert len(done) == 3


def test_busy_board_is_not_free_to_a_probe(serve: Callable[..., Server]) -> None:
    server = serve()
    with connect_place("rpc://pi:9", place_of(server)):
        assert not answers(place_of(server), 0.5)
    wait_until(lambda: answers(place_of(server), 1), 5)


def test_more_than_the_queue_holds_is_served_in_the_end(serve: Callable[..., Server]) -> None:
    server = serve()
    with connect_place("rpc://pi:9", place_of(server)):
        waiting = [in_line(server)[0] for _ in range(16)]
        late = socket.create_connection(("127.0.0.1", server.port))
        late.sendall(b"ARM1" + os.urandom(32))
        late.settimeout(0.7)
        with pytest.raises(TimeoutError):  # it is let in when there is room
            late.recv(1)
        for connection in waiting:
            connection.close()
        late.settimeout(5)
        assert late.recv(1) == b"O"
        late.close()


# -- a slow link


SLOW_DOOR = """
import socket, sys, threading, time

def carry(source, target):
    while data := source.recv(1 << 16):
        time.sleep(0.1)
        target.sendall(data)
    target.shutdown(socket.SHUT_WR)

listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
near, _ = listener.accept()
far = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
back = threading.Thread(target=carry, args=(far, near))
back.start()
carry(near, far)
back.join()
"""


@contextmanager
def slowed(server: Server) -> Iterator[int]:
    """A port through which one client reaches the agent, and every byte takes 100 ms each way.

    It is a process: TVM waits for answers while it has Python's lock.
    """
    command = [sys.executable, "-c", SLOW_DOOR, str(server.port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.kill()


def test_link_of_200_ms(serve: Callable[..., Server]) -> None:
    server = serve()
    with slowed(server) as port, connect_place("rpc://pi:9", Place("127.0.0.1", port)) as device:
        device.link.session.upload(bytearray(b"x" * 300_000), target="file")
        assert bytes(device.link.session.download("file")) == b"x" * 300_000
    wait_until(lambda: leftovers(server)[1:] == (0, []), 5)


# -- what a session leaves


def test_what_a_library_started_ends_with_its_session(serve: Callable[..., Server], tmp_path: Path) -> None:
    server = serve()
    library = bad_library(
        tmp_path,
        "extern int fork(void), setsid(void), creat(const char*, int); extern unsigned sleep(unsigned);"
        'if (fork() == 0) { setsid(); if (fork() == 0) creat("started", 0600); for (;;) sleep(9); }',
    )
    with connect_place("rpc://pi:9", place_of(server)) as device:
        with suppress(DeviceError):  # it is no network
            device.load(library)
        wait_until(lambda: list(server.work_dir.glob("*/started")) != [], 5)
        assert len(running_in(server.work_dir)) == 3
    wait_until(lambda: running_in(server.work_dir) == [], 5)
    wait_until(lambda: leftovers(server)[1:] == (0, []), 5)


def test_session_has_neither_the_door_nor_the_agents_input(serve: Callable[..., Server]) -> None:
    server = serve()
    with connect_place("rpc://pi:9", place_of(server)):
        (child,) = psutil.Process(server.process.pid).children()
        listening = [each for each in child.net_connections() if each.status == psutil.CONN_LISTEN]
        assert listening == []
        assert str(Path(f"/proc/{child.pid}/fd/0").readlink()) == "/dev/null"


@pytest.mark.parametrize("size", ["one file", "many"])
def test_session_that_stores_too_much_is_ended(serve: Callable[..., Server], size: str) -> None:
    server = serve("--disk-limit", "3")
    with (
        pytest.raises(DeviceError, match="stored more than 3 MiB, its limit"),
        connect_place("rpc://pi:9", place_of(server)) as device,
        device.link.explained("storing"),
    ):
        if size == "one file":
            device.link.session.upload(bytearray(4 << 20), target="big")
        else:
            for number in range(1000):
                device.link.session.upload(bytearray(1 << 20), target=f"file-{number % 50}")
                time.sleep(0.02)
    assert answers(place_of(server), 5)
    assert list(server.work_dir.iterdir()) == []


def test_links_are_not_followed(serve: Callable[..., Server], tmp_path: Path) -> None:
    server = serve()
    (tmp_path / "outside").write_text("secret")
    with tvm_session(server) as client:
        client.upload(bytearray(b"x"), target="file")
        (folder,) = server.work_dir.iterdir()
        (folder / "link").symlink_to(tmp_path / "outside")
        for attempt in (
            lambda: client.upload(bytearray(b"y"), target="link"),
            lambda: client.download("link"),
            lambda: client.remove("link"),
            lambda: client.load_module("link"),
            lambda: client.download("../../outside"),
            lambda: client.download(str(tmp_path / "outside")),
            lambda: client.remove("../../outside"),
        ):
            with pytest.raises(Exception, match="plain name"):
                attempt()
        assert bytes(client.download("file")) == b"x"
    assert (tmp_path / "outside").read_text() == "secret"


# -- connects and disconnects


def visit(server: Server, number: int) -> None:
    """One of several ways to come and go."""
    with suppress(OSError, LostError):
        way = number % 6
        if way == 5:
            greet("rpc://pi:9", place_of(server), "", 5).close()
            return
        with socket.create_connection(("127.0.0.1", server.port), 5) as connection:
            if way == 1:
                connection.sendall(random.Random(number).randbytes(number % 97))
            elif way == 2:
                connection.sendall(b"ARM1" + bytes(32))
                connection.recv(1)
            elif way == 3:
                connection.sendall(b"\x71\xf2\x0f\0" + (7).to_bytes(4, "little") + b"client:")
            elif way == 4:  # reset rather than closed
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


def test_a_thousand_visits_leave_nothing(serve: Callable[..., Server]) -> None:
    server = serve()
    for number in range(6):
        visit(server, number)
    assert answers(place_of(server), 10)
    wait_until(lambda: leftovers(server)[1:] == (0, []), 5)
    before = leftovers(server)[0]
    resident = psutil.Process(server.process.pid).memory_info().rss
    for number in range(1000):
        visit(server, number)
    assert answers(place_of(server), 10)
    wait_until(lambda: leftovers(server)[0] <= before and leftovers(server)[1:] == (0, []), 10)
    assert psutil.Process(server.process.pid).memory_info().rss < resident + (4 << 20)


@pytest.mark.slow
def test_a_thousand_sessions_leave_nothing(serve: Callable[..., Server]) -> None:
    server = serve()
    fds_here = psutil.Process().num_fds()
    for _ in range(1000):
        with connect_place("rpc://pi:9", place_of(server)) as device:
            assert device.features
    wait_until(lambda: leftovers(server)[1:] == (0, []), 10)
    assert psutil.Process().num_fds() <= fds_here + 2
