"""A phone's daemon for Debian's adb: it speaks adb's protocol over TCP, as adbd does, and does what is asked.

Debian has no adbd. The protocol is that of protocol.txt, SYNC.TXT and shell_service.h of Android's
platform/packages/modules/adb. Commands are run by this machine's shell, with /data/local/tmp in a folder of
the test's. A process of its own, of the standard library alone: adbd.py FOLDER FEATURES allow|ask. SIGUSR1
unplugs it; so does, in the middle of a file that is sent, a file `cut` in FOLDER, once.
"""

from __future__ import annotations

import os
import queue
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

VERSION, MOST = 0x01000001, 256 * 1024
TOKEN, SIGNATURE = 1, 2
STDIN, STDOUT, STDERR, EXIT, CLOSE_STDIN = range(5)
"""Of the shell protocol."""
THERE = "/data/local/tmp"


class Daemon:
    """Answers adb's server, until it is killed."""

    def __init__(self, folder: Path, features: str, is_authorized: bool) -> None:
        self.folder, self.features, self.is_authorized = folder, features, is_authorized
        self.listener = socket.create_server(("127.0.0.1", 0))
        self._connections: list[socket.socket] = []
        signal.signal(signal.SIGUSR1, lambda *_: self.unplug())

    def local(self, text: str) -> str:
        """With the phone's folder where it is here."""
        return text.replace(THERE, str(self.folder / "home"))

    def environment(self) -> dict[str, str]:
        return {"PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}"}

    def perhaps_cut(self) -> None:
        with suppress(FileNotFoundError):
            (self.folder / "cut").unlink()
            self.unplug()

    def accept(self) -> None:
        while True:
            connection, _ = self.listener.accept()
            self._connections.append(connection)
            threading.Thread(target=_Transport(self, connection).run, daemon=True).start()

    def unplug(self) -> None:
        for each in self._connections:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


class _Transport:
    """One connection of adb's server, and the streams in it."""

    def __init__(self, phone: Daemon, connection: socket.socket) -> None:
        self.phone, self._connection = phone, connection
        self._streams: dict[int, _Stream] = {}
        self._lock = threading.Lock()

    def send(self, command: bytes, first: int, second: int, data: bytes = b"") -> None:
        word = int.from_bytes(command, "little")
        head = struct.pack("<6I", word, first, second, len(data), sum(data) & 0xFFFFFFFF, word ^ 0xFFFFFFFF)
        with self._lock, suppress(OSError):
            self._connection.sendall(head + data)

    def run(self) -> None:
        with suppress(OSError, ConnectionError), self._connection.makefile("rb") as source:
            while len(head := source.read(24)) == 24:
                word, first, second, length, _, _ = struct.unpack("<6I", head)
                self._take(word.to_bytes(4, "little"), first, second, source.read(length))
        for stream in list(self._streams.values()):
            stream.close()

    def _take(self, command: bytes, first: int, second: int, data: bytes) -> None:
        stream = self._streams.get(second)
        if command == b"CNXN":
            self._introduce()
        elif command == b"AUTH" and first == SIGNATURE:  # of no key that is known
            self.send(b"AUTH", TOKEN, 0, bytes(20))
        elif command == b"OPEN":
            self._open(first, data.rstrip(b"\0").decode())
        elif command == b"WRTE" and stream is not None:
            stream.inbox.put(data)
            self.send(b"OKAY", second, first)
        elif command == b"OKAY" and stream is not None:
            stream.may_write.set()
        elif command == b"CLSE" and stream is not None:
            stream.close()

    def _introduce(self) -> None:
        if not self.phone.is_authorized:
            return self.send(b"AUTH", TOKEN, 0, bytes(20))
        banner = f"device::ro.product.name=test;ro.product.model=test;features={self.phone.features}"
        return self.send(b"CNXN", VERSION, MOST, banner.encode())

    def _open(self, remote: int, service: str) -> None:
        name = service.partition(":")[0].partition(",")[0]
        if name not in _SERVICES:
            return self.send(b"CLSE", 0, remote)
        number = len(self._streams) + 1
        stream = self._streams[number] = _Stream(self, number, remote)
        self.send(b"OKAY", number, remote)
        threading.Thread(target=stream.serve, args=(_SERVICES[name], service), daemon=True).start()
        return None


class _Stream:
    """A stream of bytes between a service and adb, in messages that are acknowledged."""

    def __init__(self, transport: _Transport, number: int, remote: int) -> None:
        self._transport, self._number, self._remote = transport, number, remote
        self.phone = transport.phone
        self.inbox: queue.Queue[bytes] = queue.Queue()
        self.may_write, self.is_closed = threading.Event(), threading.Event()
        self.may_write.set()
        self._rest = b""

    def serve(self, service: Callable[[_Stream, str], None], name: str) -> None:
        with suppress(OSError, EOFError):
            service(self, name)
        if not self.is_closed.is_set():
            self._transport.send(b"CLSE", self._number, self._remote)
            self.close()

    def close(self) -> None:
        self.is_closed.set()
        self.inbox.put(b"")
        self.may_write.set()

    def some(self) -> bytes:
        """What came; EOFError at the end."""
        data, self._rest = self._rest or self.inbox.get(), b""
        if not data:
            raise EOFError
        return data

    def exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            data += self.some()
        data, self._rest = data[:count], data[count:]
        return data

    def write(self, data: bytes) -> None:
        for start in range(0, len(data), MOST):
            self.may_write.wait()
            self.may_write.clear()
            if self.is_closed.is_set():
                raise EOFError
            self._transport.send(b"WRTE", self._number, self._remote, data[start : start + MOST])


def _shell(stream: _Stream, service: str) -> None:
    """shell,v2,...:COMMAND without a terminal; a lost link hangs up, as adbd does."""
    process = subprocess.Popen(
        ["sh", "-c", stream.phone.local(service.partition(":")[2])],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=stream.phone.folder,
        env=stream.phone.environment(),
        start_new_session=True,
    )
    lock = threading.Lock()

    def say(kind: int, data: bytes) -> None:
        with lock, suppress(EOFError):
            stream.write(struct.pack("<BI", kind, len(data)) + data)

    def copy(kind: int, number: int) -> None:
        while data := os.read(number, 4096):
            say(kind, data)

    assert process.stdin and process.stdout and process.stderr
    outputs = [
        threading.Thread(target=copy, args=(kind, end.fileno()), daemon=True)
        for kind, end in ((STDOUT, process.stdout), (STDERR, process.stderr))
    ]
    for each in [*outputs, threading.Thread(target=_feed, args=(stream, process), daemon=True)]:
        each.start()
    process.wait()
    for each in outputs:
        each.join()
    say(EXIT, bytes([process.returncode & 0xFF]))


def _feed(stream: _Stream, process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    with suppress(OSError):
        try:
            while True:
                kind, length = struct.unpack("<BI", stream.exactly(5))
                data = stream.exactly(length) if length else b""
                if kind == STDIN:
                    process.stdin.write(data)
                    process.stdin.flush()
                elif kind == CLOSE_STDIN:
                    process.stdin.close()
        except EOFError:
            if process.poll() is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGHUP)
            process.stdin.close()


def _sync(stream: _Stream, _service: str) -> None:
    """STAT and SEND: what adb's push asks for."""
    while True:
        name, length = struct.unpack("<4sI", stream.exactly(8))
        text = stream.exactly(length).decode() if length and name != b"QUIT" else ""
        if name == b"QUIT":
            return
        if name == b"STAT":
            stream.write(b"STAT" + _stat(Path(stream.phone.local(text))))
        elif name == b"SEND":
            path, _, mode = text.rpartition(",")
            failed = _receive(stream, Path(stream.phone.local(path)), int(mode) & 0o777)
            stream.write(struct.pack("<4sI", b"FAIL" if failed else b"OKAY", len(failed)) + failed.encode())


def _stat(path: Path) -> bytes:
    with suppress(OSError):
        found = path.stat()
        return struct.pack("<III", found.st_mode, found.st_size & 0xFFFFFFFF, int(found.st_mtime))
    return bytes(12)


def _receive(stream: _Stream, path: Path, mode: int) -> str:
    """Why it failed, or nothing."""
    failed = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)  # as adbd does
        file = path.open("wb", buffering=0)
        path.chmod(mode)
    except OSError as error:
        file = Path(os.devnull).open("wb", buffering=0)  # noqa: SIM115
        failed = f"couldn't create file: {error.strerror}"
    with file:
        while True:
            name, length = struct.unpack("<4sI", stream.exactly(8))
            if name == b"DONE":
                return failed
            try:
                file.write(stream.exactly(length))
                stream.phone.perhaps_cut()
            except OSError as error:
                failed = failed or f"write failed: {error.strerror}"


def _tcp(stream: _Stream, service: str) -> None:
    """tcp:PORT of the phone's loopback."""
    with socket.create_connection(("127.0.0.1", int(service.partition(":")[2]))) as connection:

        def forth() -> None:
            with suppress(OSError, EOFError):
                while True:
                    connection.sendall(stream.some())
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

        threading.Thread(target=forth, daemon=True).start()
        while data := connection.recv(1 << 16):
            stream.write(data)


_SERVICES: dict[str, Callable[[_Stream, str], None]] = {"shell": _shell, "sync": _sync, "tcp": _tcp}


if __name__ == "__main__":
    daemon = Daemon(Path(sys.argv[1]), sys.argv[2], sys.argv[3] == "allow")
    print(daemon.listener.getsockname()[1], flush=True)
    daemon.accept()
