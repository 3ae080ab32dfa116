"""A connection of our own, greeted and ours, given to TVM's RPC client.

TVM's client can only connect to a host and a port by itself. So it connects to a port of this process, which
carries its first exchange to and fro; then, while nothing is under way, ours takes the place of its socket
(dup2), and it speaks with the board itself. To carry on for it would not do: TVM frees what a board holds
while it has Python's lock and waits for the answer, which a thread of this process could never carry then.
"""

from __future__ import annotations

import os
import select
import socket
import stat
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from tvm import rpc
from tvm.rpc import base

from targets.errors import LostError
from targets.place import read_exactly

SECONDS = 30.0
"""For TVM's first exchange with the board."""
_POLL_SECONDS = 0.02
_CHUNK = 1 << 16


def open_session(spec: str, board: socket.socket) -> Any:
    """TVM's session over a connection that `targets.place.greet` made; it is TVM's afterwards.

    Raises LostError where the board does not go on as TVM's server does.
    """
    with board, socket.create_server(("127.0.0.1", 0)) as listener:
        board.settimeout(SECONDS)
        listener.settimeout(SECONDS)
        carrier = _Carrier(listener, board)
        carrier.start()
        try:
            session = rpc.connect("127.0.0.1", listener.getsockname()[1])
        except Exception as error:
            lines = str(error).strip().splitlines() or [repr(error)]
            raise LostError(f"{spec} is not a TVM RPC server we can use: {lines[0]}") from error
        finally:
            ours = carrier.stop()
        board.settimeout(None)
        os.dup2(board.fileno(), ours, inheritable=False)
    return session


class _Carrier(threading.Thread):
    """Takes TVM's first exchange to the board and back."""

    def __init__(self, listener: socket.socket, board: socket.socket) -> None:
        super().__init__(daemon=True)
        self._listener, self._board = listener, board
        self._is_done = threading.Event()
        self._fd = -1

    def stop(self) -> int:
        """TVM's end, once nothing is carried any more; -1 where it did not come."""
        self._is_done.set()
        self.join()
        return self._fd

    def run(self) -> None:
        """Until it is stopped, or one end is closed."""
        with suppress(OSError), self._accept() as local:
            self._answer(local)
            self._carry(local)

    def _accept(self) -> socket.socket:
        """TVM's connection, and nobody else's who found the port."""
        while True:
            local, _ = self._listener.accept()
            self._fd = _own_end(local)
            if self._fd >= 0:
                local.settimeout(SECONDS)
                return local
            local.close()

    def _answer(self, local: socket.socket) -> None:
        """The beginning of the handshake, which the board has had from us already."""
        head = read_exactly(local, 8)
        read_exactly(local, int.from_bytes(head[4:], "little"))
        local.sendall(base.RPC_MAGIC.to_bytes(4, "little"))

    def _carry(self, local: socket.socket) -> None:
        others = {local: self._board, self._board: local}
        while not self._is_done.is_set():
            for end in select.select(list(others), [], [], _POLL_SECONDS)[0]:
                data = end.recv(_CHUNK)
                if not data:
                    return
                others[end].sendall(data)


def _own_end(accepted: socket.socket) -> int:
    """The other end of a connection within this process; -1 where it is another's."""
    ends = (accepted.getpeername(), accepted.getsockname())
    for number in [int(entry.name) for entry in Path("/dev/fd").iterdir()]:
        with suppress(OSError):
            if stat.S_ISSOCK(os.fstat(number).st_mode) and _ends(number) == ends:
                return number
    return -1


def _ends(number: int) -> tuple[Any, Any]:
    """The addresses of a socket: its own, and that of who is connected."""
    duplicate = socket.socket(fileno=os.dup(number))  # closing it closes nobody's
    with duplicate:
        return duplicate.getsockname(), duplicate.getpeername()
