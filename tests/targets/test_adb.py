"""Phones over adb: Debian's adb, client and server, against a daemon of ours (`tests/targets/adbd.py`)."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from targets.adb.address import parse_address
from targets.adb.link import LIBRARIES, AdbLink
from targets.device import open_device
from targets.doctor.findings import Verdict
from targets.errors import DeviceError, LostError, UserError
from targets.farm import list_boards
from tests.targets.board_folder import wait_until
from tests.targets.phone import ADB, Phone, adb, adb_server
from tests.targets.test_doctor import NEEDS_SILICON, visit
from tests.targets.test_shell import shell_of

pytestmark = [
    pytest.mark.emulator,
    pytest.mark.skipif(ADB is None, reason="adb is missing (Debian: adb)"),
]

Arrays = tuple[np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with adb_server(tmp_path_factory.mktemp("adb")):
        yield


@pytest.fixture
def unplugged(server: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Phone]:  # noqa: ARG001
    phone = Phone(tmp_path / "board")
    monkeypatch.setenv("ARMATURE_CONFIG", str(phone.folder / "config"))
    yield phone
    phone.stop()


@pytest.fixture
def phone(unplugged: Phone) -> Phone:
    unplugged.plug_in()
    return unplugged


def fails(error: type[Exception], said: str, name: str = "phone") -> None:
    with pytest.raises(error, match=said), open_device(name):
        pass


def is_back(phone: Phone) -> None:
    """adb's server connects anew by itself, after a while, or when it is told."""
    wait_until(lambda: "connected" in phone.plug_in() and adb("-s", phone.serial, "get-state") == "device\n")


# -- as it should be


def test_phone_is_used_and_left_clean(
    phone: Phone, tiny_library: Path, tiny_inputs: Arrays, tiny_outputs: Arrays
) -> None:
    with open_device("phone") as device:
        assert device.description.startswith("aarch64 board with ")
        assert device.core is not None and device.core.name == "cortex-a53"
        assert device.features == {"crc"}
        got = device.load(tiny_library).run(*tiny_inputs)
        np.testing.assert_allclose(got[0], tiny_outputs[0], rtol=1e-6)
    wait_until(phone.is_clean)
    assert sorted(Path(name).name for name in phone.files()) == sorted([*LIBRARIES, "run"])
    assert not phone.sessions()
    (program,) = phone.home.rglob("run")
    copied = program.stat().st_mtime_ns
    with open_device("phone"):  # not taken there again
        assert program.stat().st_mtime_ns == copied
        assert len(list(phone.home.rglob("run"))) == 1


def test_no_port_is_open_to_others(phone: Phone) -> None:
    with shell_of(phone) as opened:
        (agent,) = phone.agents()
        (door,) = [each for each in agent.net_connections() if each.status == "LISTEN"]
        assert door.laddr.ip == "127.0.0.1"
        assert Path(opened.place.host).parent.stat().st_mode & 0o077 == 0
        assert adb("forward", "--list").split()[1] == f"localfilesystem:{opened.place.host}"
        assert not any(opened.place.token in " ".join(each.cmdline()) for each in phone.on_board())


@pytest.mark.usefixtures("phone")
def test_phone_is_listed() -> None:
    (free,) = list_boards()
    assert (free.name, free.state, free.last_error) == ("phone", "free", "")
    assert free.board is not None and free.board.cpus
    with open_device("phone"):
        (busy,) = list_boards(["phone"])
    assert busy.state == "busy"


@pytest.mark.usefixtures("phone")
def test_doctor_looks_at_a_phone() -> None:
    found = visit("phone")
    assert {name for name, each in found.items() if each.verdict is Verdict.NOT_APPLICABLE} == NEEDS_SILICON
    assert found["numbers"].verdict is Verdict.OK


# -- what cannot be reached


@pytest.mark.parametrize(
    "serial", ["R58M12ABCDE", "emulator-5554", "10.0.0.7:5555", "adb-1._adb-tls-connect._tcp"]
)
def test_serials(serial: str) -> None:
    address = parse_address(f"adb://{serial}")
    assert (address.spec, address.destination) == (f"adb://{serial}", serial)


@pytest.mark.parametrize("spec", ["adb://", "adb:x", "adb://-s", "adb://a b", "adb://a/b", "adb://$(x)"])
def test_what_is_no_serial_is_refused(spec: str) -> None:
    with pytest.raises(UserError, match="adb://SERIAL, as `adb devices` lists it"):
        parse_address(spec)


@pytest.mark.usefixtures("unplugged")
def test_missing_adb_is_told(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(tmp_path))
        fails(UserError, "adb not found: apt-get install adb")


@pytest.mark.usefixtures("unplugged")
def test_unknown_serial_is_told() -> None:
    fails(LostError, r"phone is not reachable: `adb devices` does not list 127\.0\.0\.1:\d+\. Plug it in")


@pytest.mark.usefixtures("server")
def test_phone_that_has_not_allowed_us_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    phone = Phone(tmp_path / "board", is_authorized=False)
    try:
        monkeypatch.setenv("ARMATURE_CONFIG", str(phone.folder / "config"))
        threading.Thread(target=phone.plug_in).start()  # it waits for the answer
        wait_until(lambda: "unauthorized" in adb("devices"))
        fails(DeviceError, "has not allowed this machine: unlock it and answer the question on its screen")
    finally:
        phone.stop()


@pytest.mark.usefixtures("server")
def test_too_old_daemon_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    phone = Phone(tmp_path / "board", features="cmd")
    try:
        monkeypatch.setenv("ARMATURE_CONFIG", str(phone.folder / "config"))
        phone.plug_in()
        fails(DeviceError, "without the shell protocol: Android 7 or newer")
    finally:
        phone.stop()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("error: device offline", "is offline: plug it in anew"),
        ("error: device still authorizing", "has not allowed this machine"),
        ("error: insufficient permissions for device: verify udev rules", "udev rule is missing"),
        ("error: cannot connect to daemon", "adb's server on this machine does not start"),
    ],
)
@pytest.mark.usefixtures("unplugged")
def test_what_adb_says_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str, said: str
) -> None:
    """Written after adb's sources: these states need a cable."""
    program = tmp_path / "adb"
    program.write_text(f'#!/bin/sh\n[ "$1" = start-server ] || {{ echo "{words}" >&2; exit 1; }}\n')
    program.chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    fails(DeviceError, said)


@pytest.mark.usefixtures("phone")
def test_missing_c_library_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "ld-linux-aarch64.so.1").write_text("")
    monkeypatch.setenv("QEMU_LD_PREFIX", str(tmp_path))
    fails(UserError, r"no libc\.so\.6, .* apt-get install libc6-arm64-cross")


def test_wrong_prefix_is_told(phone: Phone) -> None:
    phone.write_board(prefix="no-such-program")
    fails(DeviceError, r"cannot start the agent \(.*no-such-program.*words of `prefix`")
    assert phone.is_clean()


def test_full_storage_is_told(phone: Phone) -> None:
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(phone.home)]
    if subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("mounting a small file system needs root")
    try:
        fails(
            DeviceError, r"no room for the agent: \d MiB are free in /data/local/tmp/armature, 69 are needed"
        )
        phone.write_program("df", "#!/bin/sh\n")  # one that does not tell
        fails(DeviceError, "has no room for the agent in /data/local/tmp/armature")
        assert phone.files() == []
    finally:
        subprocess.run(["umount", "-l", str(phone.home)], check=False)


# -- what breaks


def test_upload_that_is_cut_never_counts(phone: Phone) -> None:
    (phone.folder / "cut").write_text("")
    fails(LostError, "the link was lost while taking the agent there")
    wait_until(phone.is_clean)
    assert not any(name.endswith("/run") and ".new-" not in name for name in phone.files())
    is_back(phone)
    with open_device("phone") as device:
        assert device.features == {"crc"}
    assert not any(".new-" in name for name in phone.files())


@pytest.mark.parametrize(
    "breaks", [Phone.unplug, lambda _: adb("kill-server")], ids=["unplugged", "no server"]
)
def test_lost_phone_is_told_and_its_agent_ends(
    phone: Phone, breaks: Callable[[Phone], object], tiny_library: Path, tiny_inputs: Arrays
) -> None:
    with open_device("phone") as device:
        program = device.load(tiny_library)
        breaks(phone)
        with pytest.raises(LostError, match="link was lost while running the network"):
            program.run(*tiny_inputs)
        wait_until(phone.is_clean)
    is_back(phone)
    with open_device("phone") as device:
        device.load(tiny_library).run(*tiny_inputs)
    assert not phone.sessions()


def test_phone_that_freezes_ends_the_wait(phone: Phone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AdbLink, "patience", 2.0)
    phone.process.send_signal(signal.SIGSTOP)
    try:
        fails(LostError, "ended the adb link: it did not answer: timed out")
    finally:
        phone.process.send_signal(signal.SIGCONT)
