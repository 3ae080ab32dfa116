"""TVM's tracker for who wants a board (tvm/rpc/tracker.py): what is registered there, and a free one.

Every step has a time-out, and a request can be given up while it waits.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tvm.rpc import base

from targets.errors import DeviceError, LostError
from targets.place import REACH_SECONDS, Place

REQUEST_SECONDS = 60.0  # for a tracker to find a free board
_POLL_SECONDS = 0.25


@dataclass(frozen=True)
class Tracker:
    """The boards of kind `key` at a tracker."""

    place: Place
    key: str
    token: str = field(default="", repr=False)
    """The boards'; the tracker itself has none."""

    @property
    def spec(self) -> str:
        """As a device is named."""
        return f"tracker://{self.place}/{self.key}".rstrip("/")

    def boards(self) -> Sequence[tuple[str, Place]]:
        """Key and place of each board that is registered, of this key; without one, of all.

        LostError when the tracker cannot be reached.
        """
        found = [
            (server["key"].removeprefix("server:"), server["addr"])
            for server in self._summary()["server_info"]
        ]
        return [
            (key, Place(str(host), int(port), token=self.token))
            for key, (host, port) in found
            if self.key in ("", key)
        ]

    def count(self) -> int:
        """How many boards of the key are registered. DeviceError when none is, LostError when the tracker
        cannot be reached.
        """
        keys = [server["key"].removeprefix("server:") for server in self._summary()["server_info"]]
        if self.key not in keys:
            there = ", ".join(sorted(set(keys))) or "none"
            raise DeviceError(f"{self.spec}: no board of key {self.key!r} is registered; there are: {there}")
        return keys.count(self.key)

    def pending(self) -> int:
        """How many requests for boards of the key wait at the tracker. LostError as above."""
        queue = self._summary()["queue_info"].get(self.key, {})
        return int(queue.get("pending", 0))

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
            return Place(host, port, match_key, self.token)

    def _summary(self) -> Mapping[str, Any]:
        with self._connected() as connection:
            base.sendjson(connection, [base.TrackerCode.SUMMARY])
            found: Mapping[str, Any] = base.recvjson(connection)[1]
            return found

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
