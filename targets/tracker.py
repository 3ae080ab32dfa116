"""TVM's tracker for who wants a board (tvm/rpc/tracker.py): what is registered there, and a free one.

Every step has a time-out, and a request can be given up while it waits.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tvm.rpc import base

from targets.errors import DeviceError, LostError

REACH_SECONDS = 5.0  # for a TCP connection, and for each answer that is due at once
REQUEST_SECONDS = 60.0  # for a tracker to find a free board
_POLL_SECONDS = 0.25


@dataclass(frozen=True)
class Place:
    """Where a board's agent listens, and the word that it expects of its next client."""

    host: str
    port: int
    match_key: str = ""

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Tracker:
    """The boards of kind `key` at a tracker."""

    place: Place
    key: str

    @property
    def spec(self) -> str:
        """As a device is named."""
        return f"tracker://{self.place}/{self.key}"

    def count(self) -> int:
        """How many boards of the key are registered. DeviceError when none is, LostError when the tracker
        cannot be reached.
        """
        with self._connected() as connection:
            base.sendjson(connection, [base.TrackerCode.SUMMARY])
            _, summary = base.recvjson(connection)
        keys = [server["key"].removeprefix("server:") for server in summary["server_info"]]
        if self.key not in keys:
            there = ", ".join(sorted(set(keys))) or "none"
            raise DeviceError(f"{self.spec}: no board of key {self.key!r} is registered; there are: {there}")
        return keys.count(self.key)

    def request(self, seconds: float = REQUEST_SECONDS, wanted: Callable[[], bool] = lambda: True) -> Place:
        """A free board, which then waits for us. LostError when there is none in time or no tracker, or when
        it is not `wanted` any more.
        """
        end = time.monotonic() + seconds
        with self._connected() as connection:
            base.sendjson(connection, [base.TrackerCode.REQUEST, self.key, "", 1])
            while not select.select([connection], [], [], _POLL_SECONDS)[0]:
                if not wanted():
                    raise LostError(f"{self.spec}: the request for a board was given up")
                if time.monotonic() >= end:
                    raise LostError(f"{self.spec}: no board of that key was free in time; try again later")
            _, (host, port, match_key) = base.recvjson(connection)
            return Place(host, port, match_key)

    @contextmanager
    def _connected(self) -> Iterator[Any]:
        try:
            with socket.create_connection((self.place.host, self.place.port), REACH_SECONDS) as connection:
                connection.sendall(base.RPC_TRACKER_MAGIC.to_bytes(4, "little"))
                if int.from_bytes(base.recvall(connection, 4), "little") != base.RPC_TRACKER_MAGIC:
                    raise DeviceError(f"{self.spec}: no TVM RPC tracker answers there")
                yield connection
        except (OSError, ValueError) as error:
            raise LostError(
                f"{self.spec}: the tracker is not reachable ({error}): "
                "is `python -m tvm.exec.rpc_tracker` running there?"
            ) from error


def reach(spec: str, place: Place, remedy: str) -> None:
    """Fails quickly where TVM would wait for minutes. Raises LostError."""
    try:
        socket.create_connection((place.host, place.port), REACH_SECONDS).close()
    except OSError as error:
        raise LostError(f"{spec} is not reachable ({error}): {remedy}") from error


def answers(place: Place, seconds: float) -> bool:
    """Whether an RPC server answers there within so many seconds and is free.

    It is asked for a key that no board has: it refuses, and goes on waiting for the client it expects.
    """
    try:
        with socket.create_connection((place.host, place.port), seconds) as connection:
            connection.settimeout(seconds)
            key = b"client:is-anybody-there"
            connection.sendall(base.RPC_MAGIC.to_bytes(4, "little") + len(key).to_bytes(4, "little") + key)
            code = int.from_bytes(base.recvall(connection, 4), "little")
            return bool(code in (base.RPC_CODE_MISMATCH, base.RPC_MAGIC))
    except OSError:
        return False
