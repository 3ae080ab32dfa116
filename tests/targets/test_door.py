"""The relay's door: who is let in, without a board."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import psutil
import pytest

from targets.errors import DeviceError
from targets.place import Place, ask
from targets.relay import door
from targets.relay.door import MOST_KEY, StrangerError, admit
from targets.relay.offer import Offer
from targets.relay.relay import Relay, open_port
from targets.token import proof
from tests.targets.test_token import TOKEN
from tests.tuning.farm import wait_until

MAGIC = (0xFF271).to_bytes(4, "little")
KEY = b"client:pi -timeout=5"


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A client and the relay's end of its connection."""
    client, relay = socket.socketpair()
    with client, relay:
        yield client, relay


def sized(data: bytes) -> bytes:
    return len(data).to_bytes(4, "little") + data


def speak(client: socket.socket, token: str, asks: bytes, heard: list[bytes]) -> None:
    """A client of ours with a token, which asks so; what it hears after its proof."""
    nonce = os.urandom(32)
    client.sendall(b"ARM1" + nonce)
    (wanted, theirs) = client.recv(1), client.recv(32)
    client.sendall(proof(token, "client", nonce, theirs) + asks)
    answer = client.recv(33)
    heard.extend((wanted, answer[:1], answer[1:], proof(token, "agent", nonce, theirs)))


def admitted(ends: tuple[socket.socket, socket.socket], token: str, asks: bytes) -> tuple[str, list[bytes]]:
    heard: list[bytes] = []
    client = threading.Thread(target=speak, args=(ends[0], token, asks, heard))
    client.start()
    try:
        return admit(ends[1], TOKEN), heard
    finally:
        client.join(5)
        assert heard[0] == b"T"


def test_right_token_is_let_in_and_proved_to(ends: tuple[socket.socket, socket.socket]) -> None:
    key, heard = admitted(ends, TOKEN, MAGIC + sized(KEY))
    assert key.encode() == KEY
    assert heard[1] == b"P"
    assert heard[2] == heard[3]


def test_nothing_of_what_follows_is_taken(ends: tuple[socket.socket, socket.socket]) -> None:
    admitted(ends, TOKEN, MAGIC + sized(KEY) + b"what follows")
    assert ends[1].recv(100) == b"what follows"


def test_wrong_token_is_refused(ends: tuple[socket.socket, socket.socket]) -> None:
    with pytest.raises(StrangerError, match="its token is not ours"):
        admitted(ends, TOKEN[::-1], MAGIC + sized(KEY))


@pytest.mark.parametrize(
    "asks",
    [b"\0\0\0\0" + sized(KEY), MAGIC + (MOST_KEY + 1).to_bytes(4, "little"), MAGIC + b"\xff\xff\xff\xff"],
)
def test_what_is_no_client_is_refused(ends: tuple[socket.socket, socket.socket], asks: bytes) -> None:
    with pytest.raises(StrangerError, match="does not speak TVM RPC"):
        admitted(ends, TOKEN, asks)


@pytest.mark.parametrize("hello", [MAGIC + sized(KEY), b"GET / HTTP/1.1\r\n\r\n"])
def test_who_does_not_greet_is_refused(ends: tuple[socket.socket, socket.socket], hello: bytes) -> None:
    ends[0].sendall(hello)
    with pytest.raises(StrangerError, match="gave no token"):
        admit(ends[1], TOKEN)


def test_who_sends_a_byte_at_a_time_has_no_more_time(
    ends: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "HELLO_SECONDS", 0.5)

    def drip() -> None:
        for letter in b"ARM1" + bytes(20):
            ends[0].sendall(bytes([letter]))
            time.sleep(0.1)

    client = threading.Thread(target=drip)
    client.start()
    start = time.monotonic()
    with pytest.raises(TimeoutError, match="said too little"):
        admit(ends[1], TOKEN)
    assert time.monotonic() - start < 2
    client.join()


def test_client_that_leaves_is_told(ends: tuple[socket.socket, socket.socket]) -> None:
    ends[0].sendall(b"ARM1")
    ends[0].shutdown(socket.SHUT_WR)
    with pytest.raises(ConnectionResetError):
        admit(ends[1], TOKEN)


def test_impostor_of_a_relay_is_found_out() -> None:
    """One that has another token answers as if it had ours."""

    def pretend(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(36)
            connection.sendall(b"T" + bytes(32))
            connection.recv(1000)
            connection.sendall(b"P" + bytes(32))
            connection.recv(1)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=pretend, args=(listener,), daemon=True).start()
        place = Place("127.0.0.1", listener.getsockname()[1], token=TOKEN)
        with pytest.raises(DeviceError, match="does not have our token"):
            ask("pi", place, "status")


def test_a_thousand_visits_leave_nothing() -> None:
    """Strangers, silent and talkative ones, and clients of a board that is away."""
    listener = open_port(0)
    port = listener.getsockname()[1]
    offer = Offer(Place("127.0.0.1", 1), "pi", port)
    process = psutil.Process()
    with Relay("pi", listener, TOKEN, offer, lambda: None):
        descriptors, threads = process.num_fds(), threading.active_count()
        for number in range(1000):
            with socket.create_connection(("127.0.0.1", port), 5) as client:
                if number % 4 == 1:
                    client.sendall(b"GET / HTTP/1.1\r\n\r\n")
                elif number % 4 == 2:
                    client.sendall(b"ARM1" + bytes(32))
                elif number % 4 == 3:
                    with suppress(OSError):
                        speak(client, TOKEN, MAGIC + sized(KEY), [])
        wait_until(lambda: process.num_fds() <= descriptors and threading.active_count() <= threads, 20)
    assert offer.is_registered is False
