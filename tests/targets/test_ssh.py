"""Boards over SSH, against a real sshd on loopback (`tests/targets/sshd.py` says what is emulated)."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from targets.device import find_boards, open_device
from targets.errors import DeviceError, LostError
from targets.shell.board import ShellBoard
from tests.targets.board_folder import wait_until
from tests.targets.sshd import SSHD, Sshd, make_key

pytestmark = [
    pytest.mark.emulator,
    pytest.mark.skipif(not SSHD.exists(), reason="sshd is missing (Debian: openssh-server)"),
]

Arrays = tuple[np.ndarray, np.ndarray]


@pytest.fixture
def sshd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sshd]:
    server = Sshd(tmp_path / "board")
    monkeypatch.setenv("ARMATURE_CONFIG", str(server.folder / "config"))
    yield server
    server.stop()


def board(name: str = "pi") -> ShellBoard:
    found = find_boards(name)
    assert isinstance(found, ShellBoard)
    return found


# -- as it should be


def test_board_is_used_and_left_clean(
    sshd: Sshd, tiny_library: Path, tiny_inputs: Arrays, tiny_outputs: Arrays
) -> None:
    with open_device("pi") as device:
        assert device.description.startswith("aarch64 board with ")
        assert "GiB" in device.description
        assert device.core is not None and device.core.name == "cortex-a53"
        assert device.features == {"crc"}
        got = device.load(tiny_library).run(*tiny_inputs)
        np.testing.assert_allclose(got[0], tiny_outputs[0], rtol=1e-6)
    wait_until(lambda: sshd.is_clean())
    (program,) = sshd.files()
    assert program.endswith("/run")
    copied = (sshd.home / program).stat().st_mtime_ns
    with open_device("pi"):  # not taken there again
        assert [name for name in sshd.files() if name.endswith("/run")] == [program]
        assert (sshd.home / program).stat().st_mtime_ns == copied
    wait_until(lambda: sshd.is_clean())


def test_no_port_of_the_board_is_open_to_its_other_users(sshd: Sshd) -> None:
    import socket

    with board() as opened:
        (agent,) = sshd.agents()
        (door,) = [each for each in agent.net_connections() if each.status == "LISTEN"]
        assert door.laddr.ip == "127.0.0.1"
        with socket.create_connection(("127.0.0.1", door.laddr.port)) as stranger:
            stranger.sendall(b"\x71\xf2\x0f\0\x07\0\0\0client:")
            with suppress(ConnectionResetError):
                assert stranger.recv(1) == b""
        assert Path(opened.place.host).parent.stat().st_mode & 0o077 == 0
        assert not any(opened.place.token in " ".join(each.cmdline()) for each in sshd.on_board())


# -- what cannot be reached


def fails(error: type[DeviceError], said: str, name: str = "pi") -> None:
    with pytest.raises(error, match=said), open_device(name):
        pass


def test_changed_host_key_is_refused(sshd: Sshd) -> None:
    sshd.trust(make_key(sshd.folder / "other_key"))
    fails(DeviceError, r"shows another host key .* ssh-keygen -R 127\.0\.0\.1")
    assert sshd.files() == []


def test_unknown_host_key_is_refused(sshd: Sshd) -> None:
    sshd.trust(None)
    fails(DeviceError, r"host key that is not known yet: ssh \S+@127\.0\.0\.1 once")
    assert sshd.known_hosts.read_text() == ""


def test_wrong_user_key_is_refused(sshd: Sshd) -> None:
    sshd.write_board(key=make_key(sshd.folder / "other_key"))
    fails(DeviceError, r"refused us \(.*Permission denied \(publickey\)")


def test_unreachable_board_is_told(sshd: Sshd) -> None:
    sshd.stop()
    fails(LostError, r"not reachable \(.*Connection refused")


def test_wrong_architecture_is_told(sshd: Sshd) -> None:
    sshd.write_program("uname", "#!/bin/sh\nexec /usr/bin/uname $*\n")
    fails(DeviceError, "is a Linux on x86_64: the agent is for 64-bit ARM Linux")


def test_board_without_its_c_library_is_told(sshd: Sshd) -> None:
    qemu = shutil.which("qemu-aarch64")
    sshd.write_board(prefix=f"{qemu} -L {sshd.folder}")
    fails(DeviceError, r"cannot start the agent \(.*ld-linux-aarch64.*glibc \(not musl\) 2\.28")
    assert sshd.is_clean()


def test_program_of_another_machine_is_told(sshd: Sshd) -> None:
    sshd.write_board(prefix="")  # this machine's kernel meets an ARM program
    fails(DeviceError, r"cannot run a program for 64-bit ARM|cannot start the agent")
    assert sshd.is_clean()


def test_too_old_c_library_is_told(sshd: Sshd) -> None:
    """The dynamic linker's own words, from a board of 2017."""
    sshd.write_program(
        "old",
        '#!/bin/sh\necho "$1: /lib/libc.so.6: version \\`GLIBC_2.28\' not found (by $1)" >&2\nexit 1\n',
    )
    sshd.write_board(prefix="old")
    fails(DeviceError, r"too old a C library .*GLIBC_2\.28.*2\.28 or newer")


def test_full_disk_is_told(sshd: Sshd) -> None:
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(sshd.home)]
    if subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("mounting a small file system needs root")
    try:
        fails(DeviceError, r"has no room for the agent: \d MiB are free in ~/\.cache, 66 are needed")
        sshd.write_program("df", "#!/bin/sh\n")  # one that does not tell
        fails(DeviceError, "has no room for the agent in ~/.cache")
        assert sshd.files() == []
    finally:
        sshd.stop()
        subprocess.run(["umount", "-l", str(sshd.home)], check=False)


def test_forbidden_forwarding_is_told(sshd: Sshd) -> None:
    config = sshd.folder / "sshd_config"
    sshd.stop()
    config.write_text(config.read_text() + "AllowTcpForwarding no\n")
    sshd.start()
    fails(DeviceError, r"hung up|forbids forwarding|ended the connection|gone")


# -- what breaks


def test_upload_that_is_cut_never_counts(sshd: Sshd) -> None:
    sshd.write_program("cat", "#!/bin/sh\nhead -c 1000000; sleep 2\n")

    def cut() -> None:
        wait_until(lambda: any(".new-" in name for name in sshd.files()))
        sshd.cut()

    thread = threading.Thread(target=cut)
    thread.start()
    fails(LostError, "the link was lost while taking the agent there")
    thread.join()
    wait_until(lambda: sshd.files() == [])
    (sshd.folder / "bin" / "cat").unlink()
    with open_device("pi") as device:
        assert device.features == {"crc"}


def test_link_that_is_cut_is_told_and_the_agent_ends(
    sshd: Sshd, tiny_library: Path, tiny_inputs: Arrays
) -> None:
    with open_device("pi") as device:
        program = device.load(tiny_library)
        sshd.cut()
        with pytest.raises(LostError, match="link was lost while running the network"):
            program.run(*tiny_inputs)
        wait_until(lambda: sshd.is_clean())
    with open_device("pi") as device:  # and it is back
        device.load(tiny_library).run(*tiny_inputs)


@pytest.mark.usefixtures("sshd")
@pytest.mark.parametrize("length", [59, 60, 79])
def test_sockets_fit_whatever_the_temporary_folder(monkeypatch: pytest.MonkeyPatch, length: int) -> None:
    """A socket's path is limited, and pytest's folders, or macOS's, are long."""
    with tempfile.TemporaryDirectory(dir="/tmp") as short:
        folder = Path(short) / ("x" * (length - len(short) - 1))
        folder.mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(folder))
        with open_device("pi") as device:
            assert device.description.startswith("aarch64")


@pytest.mark.slow
def test_half_open_link_ends_the_agent(sshd: Sshd) -> None:
    """This host freezes: nothing is closed, and nothing is said."""
    with board() as opened:
        master = opened.link._master
        assert master is not None
        os.kill(master.pid, signal.SIGSTOP)
        try:
            wait_until(lambda: sshd.is_clean(), 60)
        finally:
            os.kill(master.pid, signal.SIGCONT)


# -- links that are cut, in a network namespace


def ip(*words: str) -> bool:
    return subprocess.run(["ip", *words], capture_output=True).returncode == 0


@pytest.fixture
def far(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sshd]:
    """A board in a network namespace of its own."""
    name, number = f"armature{os.getpid()}", os.getpid() % 250
    here, there = f"arm{os.getpid()}a", f"arm{os.getpid()}b"
    if not ip("netns", "add", name):
        pytest.skip("network namespaces need root and a kernel that has them")
    server = None
    try:
        if not ip("link", "add", here, "type", "veth", "peer", "name", there, "netns", name):
            pytest.skip("there are no veth pairs here")
        ip("addr", "add", f"10.213.{number}.1/24", "dev", here)
        ip("link", "set", here, "up")
        ip("-n", name, "addr", "add", f"10.213.{number}.2/24", "dev", there)
        ip("-n", name, "link", "set", there, "up")
        ip("-n", name, "link", "set", "lo", "up")
        server = Sshd(tmp_path / "board", f"10.213.{number}.2", ("ip", "netns", "exec", name))
        server.netns, server.link = name, here  # type: ignore[attr-defined]
        monkeypatch.setenv("ARMATURE_CONFIG", str(server.folder / "config"))
        yield server
    finally:
        if server is not None:
            server.stop()
        ip("link", "del", here)
        ip("netns", "del", name)


@pytest.mark.slow
def test_cable_is_pulled_in_mid_upload_and_put_back(far: Sshd) -> None:
    far.write_program("cat", "#!/bin/sh\nhead -c 1000000; sleep 60; exec /bin/cat\n")
    threading.Thread(
        target=lambda: (
            wait_until(lambda: any(".new-" in name for name in far.files())),
            ip("link", "set", far.link, "down"),  # type: ignore[attr-defined]
        )
    ).start()
    start = time.monotonic()
    fails(LostError, "gone: the link was lost while taking the agent there")
    assert time.monotonic() - start < 50
    assert not any(name.endswith("/run") for name in far.files())
    (far.folder / "bin" / "cat").unlink()
    ip("link", "set", far.link, "up")  # type: ignore[attr-defined]
    with open_device("pi") as device:
        assert device.features == {"crc"}


@pytest.mark.slow
def test_cable_is_pulled_in_mid_run(far: Sshd, tiny_library: Path, tiny_inputs: Arrays) -> None:
    with open_device("pi") as device:
        program = device.load(tiny_library)
        program.run(*tiny_inputs)
        ip("link", "set", far.link, "down")  # type: ignore[attr-defined]
        with pytest.raises(LostError, match="link was lost while running the network"):
            program.run(*tiny_inputs)
        wait_until(lambda: far.agents() == [], 60)  # the board sees it by itself
    ip("link", "set", far.link, "up")  # type: ignore[attr-defined]
    with open_device("pi") as device:
        device.load(tiny_library).run(*tiny_inputs)


@pytest.mark.slow
def test_slow_link_that_loses_packets(far: Sshd, tiny_library: Path, tiny_inputs: Arrays) -> None:
    netem = ["tc", "qdisc", "add", "dev", far.link, "root", "netem", "delay", "200ms", "loss", "5%"]  # type: ignore[attr-defined]
    done = subprocess.run(netem, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"this kernel has no netem: {done.stderr.strip()}")
    with open_device("pi") as device:
        device.load(tiny_library).run(*tiny_inputs)
