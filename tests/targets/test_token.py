"""The token: SHA-256 and HMAC of the agent, where a token comes from, and who is let in by it."""

from __future__ import annotations

import hashlib
import hmac
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from targets.device import open_device
from targets.emulated.board import find_qemu, find_sysroot
from targets.errors import DeviceError, LostError, UserError
from targets.place import Place, answers
from targets.token import find_token, proof
from targets.toolchain import compile_object, compile_program
from tests.targets.test_agent import Server, call, wait_until

SRC = Path(__file__).parents[2] / "targets" / "agent" / "src"
TOKEN = "0123456789abcdef" * 4
OTHER = "fedcba9876543210" * 4


# -- the agent's SHA-256


@pytest.fixture(scope="module")
def digests(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, bytes], list[str]]:
    folder = tmp_path_factory.mktemp("sha256")
    objects = []
    for source in (SRC / "sha256.c", Path(__file__).parent / "sha256.c"):
        objects.append(folder / f"{source.parent.name}.o")
        compile_object(source, objects[-1], ["-O2", f"-I{SRC}"])
    compile_program(objects, folder / "sha256", [])

    def run(key: str, message: bytes) -> list[str]:
        command = [find_qemu(), "-L", str(find_sysroot()), str(folder / "sha256"), key]
        return subprocess.run(command, input=message, capture_output=True, check=True).stdout.decode().split()

    return run


@pytest.mark.emulator
@pytest.mark.parametrize(
    ("message", "digest"),
    [
        # FIPS 180-2, appendix B, and NIST's vector of no bytes
        (b"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        (b"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        (
            b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
        ),
        (b"a" * 1_000_000, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"),
    ],
)
def test_known_hashes(digests: Callable[..., list[str]], message: bytes, digest: str) -> None:
    assert digests("key", message)[0] == digest


@pytest.mark.emulator
@pytest.mark.parametrize(
    ("key", "message", "digest"),
    [
        # RFC 4231, cases 1 (its key as bytes of ASCII), 2 and 6 (a key longer than a block)
        ("\x0b" * 20, b"Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
        ("Jefe", b"what do ya want for nothing?",
         "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
    ],
)  # fmt: skip
def test_known_macs(digests: Callable[..., list[str]], key: str, message: bytes, digest: str) -> None:
    assert digests(key, message)[1] == digest


@pytest.mark.emulator
@pytest.mark.parametrize("length", [1, 55, 56, 57, 63, 64, 65, 119, 120, 128, 1000])
def test_hashes_of_all_paddings(digests: Callable[..., list[str]], length: int) -> None:
    message, key = bytes(range(256)) * 4, "k" * length
    message = message[:length]
    expected = hmac.new(key.encode(), message, "sha256").hexdigest()
    assert digests(key, message) == [hashlib.sha256(message).hexdigest(), expected]


# -- where it comes from


def token_file(folder: Path, text: str = TOKEN + "\n", mode: int = 0o600) -> Path:
    path = folder / "token"
    path.write_text(text)
    path.chmod(mode)
    return path


def test_token_of_file_and_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_token() == ""
    assert find_token(token_file(tmp_path)) == TOKEN
    monkeypatch.setenv("ARMATURE_TOKEN_FILE", str(tmp_path / "token"))
    assert find_token() == TOKEN
    monkeypatch.setenv("ARMATURE_TOKEN", OTHER)
    assert find_token() == OTHER
    assert find_token(tmp_path / "token") == TOKEN


BAD_TOKENS = [
    (TOKEN, 0o640, "others may read"),
    (TOKEN, 0o604, "others may read"),
    ("short", 0o600, "32 to 256"),
    (TOKEN + " " + TOKEN, 0o600, "32 to 256"),
    (f"{TOKEN}\n{TOKEN}", 0o600, "32 to 256"),
    (257 * "x", 0o600, "32 to 256"),
    ("", 0o600, "32 to 256"),
]


@pytest.mark.parametrize(("text", "mode", "said"), BAD_TOKENS)
def test_bad_token_is_refused(tmp_path: Path, text: str, mode: int, said: str) -> None:
    with pytest.raises(UserError, match=said):
        find_token(token_file(tmp_path, text, mode))


def test_missing_token_file_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARMATURE_TOKEN_FILE", str(tmp_path / "token"))
    with pytest.raises(UserError, match=r"cannot read the token's file .*token: No such file"):
        open_device("rpc://127.0.0.1:9")


@pytest.mark.emulator
@pytest.mark.parametrize(("text", "mode", "said"), [BAD_TOKENS[0], BAD_TOKENS[2], BAD_TOKENS[4]])
def test_agent_refuses_a_bad_token(agent: Path, tmp_path: Path, text: str, mode: int, said: str) -> None:
    done = call(agent, "serve", "--token-file", str(token_file(tmp_path, text, mode)))
    assert done.returncode == 2
    assert said.replace("32 to 256", "32 to 256 letters") in done.stderr


# -- who is let in


@pytest.fixture
def server(agent: Path, tmp_path: Path) -> Iterator[Server]:
    server = Server(agent, tmp_path, "--host", "0.0.0.0", "--token-file", str(token_file(tmp_path)))
    yield server
    server.close()


def device(server: Server, monkeypatch: pytest.MonkeyPatch, token: str) -> Any:
    monkeypatch.setenv("ARMATURE_TOKEN", token)
    return open_device(f"rpc://127.0.0.1:{server.port}")


@pytest.mark.emulator
@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_agent_wants_a_token_where_others_reach_it(agent: Path, host: str) -> None:
    done = call(agent, "serve", "--host", host)
    assert done.returncode == 1
    assert f"--host {host} needs a token" in done.stderr


@pytest.mark.emulator
def test_right_token_is_let_in(
    server: Server, monkeypatch: pytest.MonkeyPatch, tiny_library: Path, tiny_inputs: Any, tiny_outputs: Any
) -> None:
    with device(server, monkeypatch, TOKEN) as opened:
        got = opened.load(tiny_library).run(*tiny_inputs)
        np.testing.assert_allclose(got[0], tiny_outputs[0], rtol=1e-6)
    assert answers(Place("127.0.0.1", server.port, token=TOKEN), 5)
    assert TOKEN not in repr(Place("127.0.0.1", server.port, token=TOKEN))
    assert not any("refused" in line and "key" not in line for line in server.lines)


@pytest.mark.emulator
def test_wrong_token_is_refused(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DeviceError, match="refused our token"), device(server, monkeypatch, OTHER):
        pass
    assert "127.0.0.1" in server.wait_for_line("refused .*: its token is not ours")
    assert not server.work_dir.exists() or not list(server.work_dir.iterdir())
    with device(server, monkeypatch, TOKEN) as opened:
        assert "crc" in opened.features


@pytest.mark.emulator
def test_missing_token_is_told(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ARMATURE_TOKEN", raising=False)
    with (
        pytest.raises(DeviceError, match=r"wants the token .*ARMATURE_TOKEN"),
        open_device(f"rpc://127.0.0.1:{server.port}"),
    ):
        pass


@pytest.mark.emulator
def test_tvms_own_client_is_refused(server: Server) -> None:
    from tvm import rpc

    with pytest.raises(Exception, match=r"RPC|recv|Socket|magic|code"):
        rpc.connect("127.0.0.1", server.port)
    server.wait_for_line("refused .*: it gave no token")


@pytest.mark.emulator
def test_a_proof_does_not_hold_twice(server: Server) -> None:
    """What was heard on the wire lets nobody in: the agent's nonce is another one each time."""
    for client_nonce, known in ((b"n" * 32, None), (b"n" * 32, True)):
        with socket.create_connection(("127.0.0.1", server.port), 5) as connection:
            connection.sendall(b"ARM1" + client_nonce)
            answer = connection.recv(33, socket.MSG_WAITALL)
            if known is None:
                heard = proof(TOKEN, "client", client_nonce, answer[1:])
            connection.sendall(heard)
            assert connection.recv(1) == (b"P" if known is None else b"R")


@pytest.mark.emulator
def test_silent_clients_keep_nobody_out(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    silent = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(12)]
    for number, connection in enumerate(silent):
        connection.sendall(b"ARM1"[: number % 5])
    with device(server, monkeypatch, TOKEN) as opened:
        assert "crc" in opened.features
    server.wait_for_line("it said too little in its time", 10)
    for connection in silent:
        connection.settimeout(10)
        assert connection.recv(1) == b""
        connection.close()


# -- impostors: what is sent to who is not our agent


def impostor(answer: bytes) -> tuple[socket.socket, list[bytes]]:
    """A server that answers so after the hello, or hangs up for want of it; and what it is sent then."""
    listener, heard = socket.create_server(("127.0.0.1", 0)), []

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(36, socket.MSG_WAITALL)
            connection.sendall(answer)
            with suppress(ConnectionResetError):
                while answer and (data := connection.recv(4096)):
                    heard.append(data)

    threading.Thread(target=serve, daemon=True).start()
    return listener, heard


def test_agent_that_cannot_prove_itself_is_refused() -> None:
    from targets.place import greet

    listener, heard = impostor(b"T" + os.urandom(32) + b"P" + os.urandom(32))
    place = Place("127.0.0.1", listener.getsockname()[1], token=TOKEN)
    with listener, pytest.raises(DeviceError, match="does not have our token"):
        greet("rpc://pi:9", place, "", 5)
    wait_until(lambda: heard != [], 5)
    assert TOKEN.encode() not in b"".join(heard)
    assert len(b"".join(heard)) < 100  # the proof, and the name of a key


@pytest.mark.parametrize(
    ("answer", "error", "said"),
    [
        (b"HTTP/1.1 400", LostError, "is not Armature's agent"),
        (b"", LostError, "ended the connection"),
        (b"T" + b"n" * 32 + b"R", DeviceError, "refused our token"),
        (b"OX", LostError, "is not Armature's agent"),
        (b"OG\x01\x02\x03\x04", LostError, "is not Armature's agent"),
    ],
)
def test_server_of_another_kind_is_told(answer: bytes, error: type[Exception], said: str) -> None:
    from targets.place import greet

    listener, _ = impostor(answer)
    place = Place("127.0.0.1", listener.getsockname()[1], token=TOKEN)
    with listener, pytest.raises(error, match=said):
        greet("rpc://pi:9", place, "", 5)
