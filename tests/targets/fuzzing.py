"""What a hostile client may say to an agent's port: a corpus of conversations, changed at random from a seed.

A conversation is lines of text (tests/targets/corpus/). `hello` greets, `proof` proves the token where it
is wanted, `enter` waits for our turn. `send HEX` and `fill COUNT` say bytes, `call HEX` a request of TVM's
RPC; `ask HEX` also keeps the handle that is answered, which stands for @ in later ones. Then there are
`read`, `half` (closes one way) and `reset`. Those of sessions were recorded from TVM's own client.
"""

from __future__ import annotations

import os
import random
import re
import socket
from contextlib import suppress
from pathlib import Path

from targets.place import read_exactly
from targets.token import proof

CORPUS = Path(__file__).with_name("corpus")
SECONDS = 0.25
"""For an answer: whoever waits for more of us never gives one."""
MOST_FILL = 4 << 20

# In place of others of their length: names of the recorded sessions, and numbers.
NAME = b"plain-name-1"
HOSTILE_NAMES = (
    b"../../canary",
    b"..//canary//",
    b"/tmp//canary",
    b"\0\0\0\0\0\0\0\0\0\0\0\0",
    b"............",
    b"%s%n%x%s%n%d",
)
NUMBERS = (
    0,
    1,
    2,
    7,
    1023,
    1024,
    1025,
    2**16,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**40,
    2**63 - 1,
    2**63,
    2**64 - 1,
)

Line = tuple[str, str]
Script = list[Line]


def read_corpus() -> dict[str, Script]:
    """The conversations by name."""
    return {path.stem: parse(path.read_text()) for path in sorted(CORPUS.glob("*.txt"))}


def parse(text: str) -> Script:
    """A conversation from its lines."""
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in text.splitlines())]


def spell(script: Script) -> str:
    """The lines of a conversation, to be kept in the corpus."""
    return "".join(f"{word} {rest}".rstrip() + "\n" for word, rest in script)


def changed(corpus: dict[str, Script], seed: int) -> Script:
    """One of the conversations, changed in some places."""
    draw = random.Random(seed)
    script = list(draw.choice(list(corpus.values())))
    for _ in range(draw.randint(1, 4)):
        if script:
            draw.choice(CHANGES)(draw, script, corpus)
    return script


def _drop(draw: random.Random, script: Script, _: dict[str, Script]) -> None:
    del script[draw.randrange(len(script))]


def _repeat(draw: random.Random, script: Script, _: dict[str, Script]) -> None:
    at = draw.randrange(len(script))
    script[at:at] = [script[at]] * draw.randint(1, 20)


def _splice(draw: random.Random, script: Script, corpus: dict[str, Script]) -> None:
    """The rest of another conversation."""
    other = draw.choice(list(corpus.values()))
    at = draw.randrange(len(script))
    script[at:] = other[min(at, len(other) - 1) :]


def _interrupt(draw: random.Random, script: Script, _: dict[str, Script]) -> None:
    words = (
        ("half", ""),
        ("reset", ""),
        ("fill", str(draw.choice((1, 31, 33, 4096, MOST_FILL)))),
        ("read", ""),
    )
    script.insert(draw.randint(0, len(script)), draw.choice(words))


def _rename(draw: random.Random, script: Script, _: dict[str, Script]) -> None:
    """Another name for the session's file."""
    name = draw.choice(HOSTILE_NAMES).hex()
    script[:] = [(word, rest.replace(NAME.hex(), name)) for word, rest in script]


def _bytes(draw: random.Random, script: Script, _: dict[str, Script]) -> None:
    """Other bytes of a message: its numbers, single bits, or its end."""
    places = [at for at, (word, rest) in enumerate(script) if word in ("send", "call", "ask") and rest]
    if not places:
        return
    at = draw.choice(places)
    word, rest = script[at]
    parts = rest.split("@")
    which = draw.randrange(len(parts))
    data = bytearray.fromhex(parts[which])
    if data:
        draw.choice((_number, _flip, _truncate))(draw, data)
    parts[which] = data.hex()
    script[at] = (word, "@".join(parts))


def _number(draw: random.Random, data: bytearray) -> None:
    size = draw.choice((4, 8))
    at = 4 * draw.randrange(len(data) // 4 + 1)
    data[at : at + size] = (draw.choice(NUMBERS) % (1 << 8 * size)).to_bytes(size, "little")


def _flip(draw: random.Random, data: bytearray) -> None:
    for _ in range(draw.randint(1, 8)):
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)


def _truncate(draw: random.Random, data: bytearray) -> None:
    del data[draw.randrange(len(data)) :]


CHANGES = (_drop, _repeat, _splice, _interrupt, _rename, _rename, _bytes, _bytes, _bytes, _bytes)


class Client:
    """Holds a conversation with the agent at a port of loopback, and stays connected until it is closed."""

    def __init__(self, port: int, token: str) -> None:
        self._token, self._nonce, self._handle = token, b"", bytes(8)
        self._connection = socket.create_connection(("127.0.0.1", port), 5)
        self._connection.settimeout(SECONDS)

    def say(self, script: Script) -> None:
        """All of it, as far as the agent listens."""
        with suppress(OSError):
            for word, rest in script:
                getattr(self, f"_{word}")(rest)

    def close(self) -> None:
        """Hang up."""
        self._connection.close()

    def _hello(self, _: str) -> None:
        self._nonce = os.urandom(32)
        self._connection.sendall(b"ARM1" + self._nonce)

    def _proof(self, _: str) -> None:
        if read_exactly(self._connection, 1) == b"T":
            answer = proof(self._token, "client", self._nonce, read_exactly(self._connection, 32))
            self._connection.sendall(answer)

    def _send(self, rest: str) -> None:
        self._connection.sendall(bytes.fromhex(re.sub("@", self._handle.hex(), rest)))

    def _enter(self, _: str) -> None:
        """Past the agent's proof, our places in the queue, and its answer to the key."""
        sizes = {b"P": 32, b"Q": 1, b"R": 1}
        while (word := read_exactly(self._connection, 1)) != b"G":
            read_exactly(self._connection, sizes.get(word, 0))
        head = read_exactly(self._connection, 8)
        read_exactly(self._connection, min(int.from_bytes(head[4:], "little"), 1 << 16))

    def _call(self, rest: str) -> bytes:
        self._send(rest)
        length = int.from_bytes(read_exactly(self._connection, 8), "little")
        return read_exactly(self._connection, min(length, 1 << 16))

    def _ask(self, rest: str) -> None:
        self._handle = self._call(rest)[-8:]

    def _fill(self, rest: str) -> None:
        self._connection.sendall(b"A" * int(rest))

    def _read(self, _: str) -> None:
        """What is there, or soon will be."""
        with suppress(TimeoutError):
            while len(self._connection.recv(1 << 16)) == 1 << 16:
                pass

    def _half(self, _: str) -> None:
        self._connection.shutdown(socket.SHUT_WR)

    def _reset(self, _: str) -> None:
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self._connection.close()
