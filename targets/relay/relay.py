"""A port of this machine's loopback that leads to the agent of a board, for who has the token of the farm.

A client proves itself to the relay, and the relay to the agent, by another token. Who the tracker sent is the
next to use the board; others are led to the agent as who it expects not, and it refuses them in their turn.
"""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from types import TracebackType

from targets.errors import DeviceError, UserError
from targets.place import Place, introduce, keep_alive
from targets.relay.door import StrangerError, admit
from targets.relay.offer import Offer

MOST_CLIENTS = 17
"""At a time: the agent's queue and its session. Others wait to be accepted."""
LAST_SECONDS = 5.0
"""For one end of a connection to go after the other."""
REQUESTS = ("status", "drain")
_CHUNK = 1 << 16
_NOBODY = "client:sent-by-no-tracker"
"""A key that the agent expects of nobody: it knows of no tracker, so that it expects an empty one."""

log = logging.getLogger(__name__)


def open_port(port: int) -> socket.socket:
    """A port of loopback, any that is free for 0. UserError where it is not to be had."""
    try:
        return socket.create_server(("127.0.0.1", port))
    except OSError as error:
        raise UserError(f"port {port} cannot be had ({error.strerror}): give another --port") from error


class Relay:
    """The port, as long as its context lasts. `offer` knows the client that the tracker sends; `changed` is
    called when a session begins or ends, from threads of the relay.
    """

    def __init__(
        self, name: str, listener: socket.socket, token: str, offer: Offer, changed: Callable[[], None]
    ) -> None:
        self._name, self._token, self._offer, self._changed = name, token, offer, changed
        self._listener = listener
        self.client = ""
        """Who has the board; empty: it is free, as far as the tracker's clients go."""
        self.is_draining = False
        self.sessions = 0
        self._board: Place | None = None
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._places = threading.BoundedSemaphore(MOST_CLIENTS)

    def __enter__(self) -> Relay:
        threading.Thread(target=self._listen, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes up who waits for clients
        self._listener.close()
        self.lead_to(None)

    def lead_to(self, board: Place | None) -> None:
        """Where the agent is from now on; whoever was led elsewhere is cut off."""
        with self._lock:
            self._board = board
            cut = list(self._open)
        for connection in cut:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _listen(self) -> None:
        with suppress(OSError):  # it was closed
            while True:
                self._places.acquire()
                client, (host, port, *_) = self._listener.accept()
                threading.Thread(target=self._attend, args=(client, f"{host}:{port}"), daemon=True).start()

    def _attend(self, client: socket.socket, who: str) -> None:
        try:
            with client, self._known(client):
                keep_alive(client)
                key = admit(client, self._token)
                client.settimeout(None)
                self._answer(client, who, key)
        except (StrangerError, DeviceError, OSError) as error:
            log.warning("%s: %s is not served: %s", self._name, who, error)
        finally:
            self._places.release()

    def _answer(self, client: socket.socket, who: str, key: str) -> None:
        word, space, options = key.partition(" ")
        if key in REQUESTS:
            self.is_draining |= key == "drain"
            self._lead(client, key)
        elif not self._offer.claim(word):
            self._lead(client, _NOBODY + space + options)
        else:
            self.client, self.sessions = who, self.sessions + 1
            self._changed()
            try:
                self._lead(client, f"client:{space}{options}")
            finally:
                self.client = ""
                self._offer.release()
                self._changed()

    def _lead(self, client: socket.socket, key: str) -> None:
        """Carries what both say, until one of them is gone."""
        board = self._board
        if board is None:
            raise ConnectionRefusedError("the board is not there")
        with introduce(self._name, board, "is its link up?", key) as agent, self._known(agent):
            agent.settimeout(None)
            back = threading.Thread(target=_carry, args=(agent, client), daemon=True)
            forth = threading.Thread(target=_carry, args=(client, agent), daemon=True)
            back.start()
            forth.start()
            back.join()
            forth.join(LAST_SECONDS)

    def _known(self, connection: socket.socket) -> ExitStack:
        """Lets `lead_to` cut it off while the context lasts."""
        with self._lock:
            self._open.add(connection)
        stack = ExitStack()
        stack.callback(self._forget, connection)
        return stack

    def _forget(self, connection: socket.socket) -> None:
        with self._lock:
            self._open.discard(connection)


def _carry(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(_CHUNK):
            target.sendall(data)
    for end, way in ((target, socket.SHUT_WR), (source, socket.SHUT_RD)):
        with suppress(OSError):
            end.shutdown(way)
