"""A board's place in a TVM RPC tracker (tvm/rpc/tracker.py), held for it by a relay.

The same as the agent's own (targets/agent/src/tracker.c): where it listens, and the word by which the next
client will be known.
"""

from __future__ import annotations

import secrets
import socket
import threading
import time
from typing import Any

from tvm.rpc import base

from targets.errors import LostError
from targets.place import REACH_SECONDS, Place

RETRY_SECONDS = 5.0
"""Between attempts to reach the tracker."""
PING_SECONDS = 2.0
MOST_UNCLAIMED = 3
"""Pings in a row in which the board was taken and nobody came; as TVM's server."""


class Offer:
    """An offer that is kept up; one thread keeps it, and any may claim it."""

    def __init__(self, tracker: Place, key: str, port: int) -> None:
        self._tracker, self._key, self._port = tracker, key, port
        self._connection: socket.socket | None = None
        self._word = ""  # by which the next client is known; empty: there is no offer
        self._is_claimed = False
        self._lock = threading.Lock()
        self._next_try = self._next_ping = 0.0
        self._unclaimed = 0

    @property
    def is_registered(self) -> bool:
        """Whether the tracker knows of the board, as far as is known here."""
        return self._connection is not None

    def keep(self) -> None:
        """To be called often: registers, offers the board unless it is claimed, and looks for the tracker.

        LostError when it is not; later calls try again.
        """
        now = time.monotonic()
        try:
            if self._connection is None:
                if now < self._next_try:
                    return
                self._next_try = now + RETRY_SECONDS
                self._register()
            if not self._word and not self._is_claimed:
                self._put()
            elif now >= self._next_ping:
                self._ping()
        except (OSError, ValueError) as error:
            self.withdraw()
            raise LostError(f"the tracker {self._tracker} is not reachable ({error})") from error

    def claim(self, word: str) -> bool:
        """Whether a client is the one that the tracker sent: the board is its own until it is released."""
        with self._lock:
            if not self._word or not secrets.compare_digest(word.encode(), f"client:{self._word}".encode()):
                return False
            self._word, self._is_claimed = "", True
            return True

    def release(self) -> None:
        """The client is gone: the board may be offered again."""
        self._is_claimed = False

    def withdraw(self) -> None:
        """Leave the tracker."""
        with self._lock:
            self._word = ""
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def _register(self) -> None:
        place = (self._tracker.host, self._tracker.port)
        self._connection = socket.create_connection(place, REACH_SECONDS)
        self._connection.sendall(base.RPC_TRACKER_MAGIC.to_bytes(4, "little"))
        if int.from_bytes(base.recvall(self._connection, 4), "little") != base.RPC_TRACKER_MAGIC:
            raise ValueError("no TVM RPC tracker answers there")
        self._ask([base.TrackerCode.UPDATE_INFO, {"key": f"server:{self._key}", "addr": [None, self._port]}])

    def _put(self) -> None:
        word = f"{self._key}:{secrets.token_hex(16)}"
        with self._lock:
            self._word = word  # first: the client may come before the tracker's answer
        self._ask([base.TrackerCode.PUT, self._key, [self._port, word], None])
        self._unclaimed = 0
        self._next_ping = time.monotonic() + PING_SECONDS

    def _ping(self) -> None:
        """Also notices that a client took the board and did not come."""
        waiting = self._ask([base.TrackerCode.GET_PENDING_MATCHKEYS])
        self._next_ping = time.monotonic() + PING_SECONDS
        if not self._word or self._word in waiting:
            self._unclaimed = 0
            return
        self._unclaimed += 1
        if self._unclaimed > MOST_UNCLAIMED:
            self._put()

    def _ask(self, message: list[Any]) -> Any:
        assert self._connection is not None
        base.sendjson(self._connection, message)
        answer = base.recvjson(self._connection)
        if answer == base.TrackerCode.FAIL:
            raise ValueError("it refused what was asked")
        return answer
