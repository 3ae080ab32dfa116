"""The agent's side of the greeting (targets/agent/src/lobby.h), for a relay that stands before an agent.

Only who has the token comes in; there is no way in without one.
"""

from __future__ import annotations

import hmac
import os
import socket
import time

from tvm.rpc import base

from targets.place import HELLO, PROOF, REFUSED, TOKEN_WANTED
from targets.token import NONCE_BYTES, PROOF_BYTES, proof

HELLO_SECONDS = 5.0
"""For all that a client says before it is let in; as the agent's (lobby.c)."""
MOST_KEY = 1024
_WRONG_TOKEN = b"T"


class StrangerError(Exception):
    """Somebody who is not let in, and why."""


def admit(client: socket.socket, token: str) -> str:
    """The key that a client asks with, after each side has proved to the other that it has the token.

    Raises StrangerError where it has not, or speaks otherwise; OSError where it leaves, or says too little.
    """
    end = time.monotonic() + HELLO_SECONDS
    if _read(client, len(HELLO), end) != HELLO:
        raise StrangerError("it gave no token")
    client_nonce, nonce = _read(client, NONCE_BYTES, end), os.urandom(NONCE_BYTES)
    client.sendall(bytes([TOKEN_WANTED]) + nonce)
    if not hmac.compare_digest(_read(client, PROOF_BYTES, end), proof(token, "client", client_nonce, nonce)):
        client.sendall(bytes([REFUSED]) + _WRONG_TOKEN)
        raise StrangerError("its token is not ours")
    client.sendall(bytes([PROOF]) + proof(token, "agent", client_nonce, nonce))
    magic, length = (int.from_bytes(_read(client, 4, end), "little") for _ in range(2))
    if magic != base.RPC_MAGIC or length > MOST_KEY:
        raise StrangerError("it does not speak TVM RPC")
    return _read(client, length, end).decode("latin-1")


def _read(client: socket.socket, count: int, end: float) -> bytes:
    """So many bytes, and no more, before the time is over, however they come."""
    data = b""
    while len(data) < count:
        left = end - time.monotonic()
        try:
            client.settimeout(max(left, 0.001))
            more = client.recv(count - len(data))
        except TimeoutError:
            raise TimeoutError("it said too little in its time") from None
        if not more:
            raise ConnectionResetError("it hung up")
        data += more
    return data
