"""Where a board's agent listens, and how it is greeted: both sides prove that they have the token, and our
place in the agent's queue is told. What is said, and by whom, stands in `targets/agent/src/lobby.h`.
"""

from __future__ import annotations

import hmac
import ipaddress
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tvm.rpc import base

from targets.errors import DeviceError, LostError
from targets.token import FILE_VARIABLE, NONCE_BYTES, PROOF_BYTES, VARIABLE, proof

REACH_SECONDS = 5.0
"""For a connection."""
ANSWER_SECONDS = 10.0
"""For each answer that is due at once."""
PATIENCE_SECONDS = 1.0
"""So long a board is waited for without a word."""
HELLO = b"ARM1"
OPEN, TOKEN_WANTED, PROOF, QUEUED, TURN, REFUSED, SAID = b"OTPQGRS"
MOST_SAID = 1 << 20

# Seconds, seconds, probes, and milliseconds for what was sent; the same as the agent's (net.c).
_KEEP_ALIVE = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 4, "TCP_USER_TIMEOUT": 30_000}
_WHAT_IS_THERE = "is it Armature's agent (`run serve`), and of this version?"
_IMPOSTOR = "it is not the agent that shares it, and was sent nothing"
_NOBODY = "is-anybody-there"
"""A key that no board has."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Place:
    """Where a board's agent listens, the word that it expects of its next client, and the token."""

    host: str
    """Or the path of a socket, where the port is 0."""
    port: int
    match_key: str = ""
    token: str = field(default="", repr=False)
    label: str = ""
    """What it is called in messages, where that is not its address."""

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return self.label or f"{host}:{self.port}"

    @property
    def is_local(self) -> bool:
        """Whether its address is one of this machine alone, written as such."""
        try:
            return self.host == "localhost" or ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


class RefusedError(DeviceError):
    """The agent is there, and does not want us."""


def greet(
    spec: str, place: Place, remedy: str, seconds: float, session_timeout: float = 0.0
) -> socket.socket:
    """A connection to the agent at `place` that is ours now, past the magic number of TVM's server.

    `remedy` is for an address where nothing listens; for our turn we wait `seconds`, for `session_timeout` we
    may have the board. Raises LostError where it cannot be reached, is no agent or is not free in time,
    DeviceError where one side does not accept the other's token.
    """
    connection = introduce(spec, place, remedy, f"client:{place.match_key} -timeout={session_timeout:g}")
    try:
        with _explained(spec):
            _wait_for_turn(spec, connection, time.monotonic() + seconds)
            _expect_magic(spec, connection)
        return connection
    except BaseException:
        connection.close()
        raise


def introduce(spec: str, place: Place, remedy: str, key: str) -> socket.socket:
    """A connection to the agent at `place`, past the token, that has asked with this key and heard no more.

    Raises as `greet` does.
    """
    connection = _reach(spec, place, remedy)
    try:
        with _explained(spec):
            _introduce(spec, place, connection, key)
        return connection
    except BaseException:
        connection.close()
        raise


def answers(place: Place, seconds: float) -> bool:
    """Whether an agent answers there within so many seconds and is free.

    It is asked for a key that no board has: it refuses, and goes on waiting for the client it expects.
    """
    probe = Place(place.host, place.port, _NOBODY, place.token)
    try:
        greet(str(place), probe, "", seconds).close()
    except RefusedError:
        return True
    except DeviceError:
        return False
    return True


def ask(spec: str, place: Place, request: str) -> str:
    """What the agent at `place` answers to `status` or `drain`, whoever has the board.

    Raises LostError where it cannot be reached, is no agent or one too old; DeviceError as `greet` does.
    """
    remedy = "is the agent running there, and listening on that address?"
    with introduce(spec, place, remedy, request) as connection, _explained(spec):
        head = read_exactly(connection, 5)
        length = int.from_bytes(head[1:], "little")
        if head[0] != SAID or length > MOST_SAID:
            raise LostError(f"{spec} does not answer to {request!r}: is its agent of this version?")
        return read_exactly(connection, length).decode(errors="replace")


def read_exactly(connection: socket.socket, count: int) -> bytes:
    """So many bytes, and no more: what follows is TVM's. OSError where they do not come."""
    data = b""
    while len(data) < count:
        more = connection.recv(count - len(data))
        if not more:
            raise ConnectionResetError("it hung up")
        data += more
    return data


def _reach(spec: str, place: Place, remedy: str) -> socket.socket:
    try:
        if place.port:
            connection = socket.create_connection((place.host, place.port), REACH_SECONDS)
            keep_alive(connection)
        else:
            connection = socket.socket(socket.AF_UNIX)
            connection.settimeout(REACH_SECONDS)
            connection.connect(place.host)
        return connection
    except OSError as error:
        raise LostError(f"{spec} is not reachable ({error}): {remedy}") from error


def keep_alive(connection: socket.socket) -> None:
    """Lets the kernel find out within about half a minute that the other end is gone."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for name, value in _KEEP_ALIVE.items():
        if hasattr(socket, name):  # not on every system
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


@contextmanager
def _explained(spec: str) -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        raise LostError(f"{spec} did not answer in {ANSWER_SECONDS:g} s: {_WHAT_IS_THERE}") from error
    except OSError as error:
        raise LostError(f"{spec} ended the connection ({error}): {_WHAT_IS_THERE}") from error


def _introduce(spec: str, place: Place, connection: socket.socket, key: str) -> None:
    """Say hello, prove ourselves where a token is wanted, and ask as TVM's client does."""
    connection.settimeout(ANSWER_SECONDS)
    nonce = os.urandom(NONCE_BYTES)
    asks = base.RPC_MAGIC.to_bytes(4, "little") + len(key).to_bytes(4, "little") + key.encode()
    connection.sendall(HELLO + nonce)
    (wanted,) = read_exactly(connection, 1)
    if wanted == OPEN:
        if place.token and not place.is_local:
            raise DeviceError(f"{spec} wants no token: {_IMPOSTOR}")
        connection.sendall(asks)
        return
    if wanted != TOKEN_WANTED:
        raise LostError(f"{spec} is not Armature's agent")
    agent_nonce = read_exactly(connection, NONCE_BYTES)
    if not place.token:
        raise RefusedError(
            f"{spec} wants the token that its agent was started with: set {VARIABLE}, "
            f"{FILE_VARIABLE}, or the board's token_file in boards.toml (docs/boards.md)"
        )
    connection.sendall(proof(place.token, "client", nonce, agent_nonce) + asks)
    (answer,) = read_exactly(connection, 1)
    if answer == REFUSED:
        raise RefusedError(f"{spec} refused our token: it is not the one that its agent was started with")
    expected = proof(place.token, "agent", nonce, agent_nonce)
    if answer != PROOF or not hmac.compare_digest(read_exactly(connection, PROOF_BYTES), expected):
        raise DeviceError(f"{spec} does not have our token: {_IMPOSTOR}")


def _wait_for_turn(spec: str, connection: socket.socket, end: float) -> None:
    before, told, tells = 0, 0, time.monotonic() + PATIENCE_SECONDS
    while True:
        now = time.monotonic()
        if before != told and now >= tells:
            log.warning("%s is held by another client: waiting, %d before us", spec, before)
            told = before
        connection.settimeout(max(0.01, (end if before == told else min(end, tells)) - now))
        try:
            (answer,) = read_exactly(connection, 1)
        except TimeoutError:
            if time.monotonic() < end:
                continue
            queue = f"{before} before us" if before else "it did not say by whom"
            raise LostError(f"{spec} was not free in time: another client may hold it ({queue})") from None
        if answer == TURN:
            return
        if answer == REFUSED:
            raise RefusedError(f"{spec} is being drained: it takes no more clients (docs/boards.md)")
        if answer != QUEUED:
            raise LostError(f"{spec} is not Armature's agent")
        (before,) = read_exactly(connection, 1)


def _expect_magic(spec: str, connection: socket.socket) -> None:
    connection.settimeout(ANSWER_SECONDS)
    code = int.from_bytes(read_exactly(connection, 4), "little")
    if code == base.RPC_CODE_MISMATCH:
        raise RefusedError(f"{spec} expects a client of another key: was the board given to somebody else?")
    if code != base.RPC_MAGIC:
        raise LostError(f"{spec} is not Armature's agent")
