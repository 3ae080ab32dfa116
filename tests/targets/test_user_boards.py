"""boards.toml: names for boards, and mistakes in it that are told with the file, the key and the remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from targets.device import find_boards, open_device
from targets.errors import UserError
from targets.pin import Pin
from targets.place import Place
from targets.shell.board import ShellBoard
from targets.ssh.address import SshAddress, parse_address
from targets.tracker import Tracker
from targets.user_boards import find_user_board, user_board_names

TOKEN = "0123456789abcdef" * 4


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ARMATURE_CONFIG", str(tmp_path))
    return tmp_path


def write(folder: Path, text: str) -> None:
    (folder / "boards.toml").write_text(text)


def test_no_file_is_no_boards(folder: Path) -> None:
    assert find_user_board("pi") is None
    assert user_board_names() == ()
    with pytest.raises(UserError, match="unknown device 'pi'"):
        open_device("pi")
    assert list(folder.iterdir()) == []


def test_board_over_ssh(folder: Path) -> None:
    (folder / "key").write_text("")
    write(
        folder,
        f"""[boards.pi]
        address = "ssh://me@pi.local:2222"
        core = "cortex-a72"
        pin = "a72"
        key = "{folder}/key"
        prefix = "taskset -c 2-3"
        """,
    )
    found = find_boards("pi")
    assert isinstance(found, ShellBoard)
    address = found.address
    assert isinstance(address, SshAddress)
    assert (address.spec, address.destination, address.port) == ("pi", "me@pi.local", 2222)
    assert address.prefix == ("taskset", "-c", "2-3")
    assert address.core is not None and address.core.name == "cortex-a72"
    mine = find_user_board("pi")
    assert mine is not None and mine.pin == Pin(core="cortex-a72")
    command = address.command(folder / "control")
    assert command[-1] == "me@pi.local"
    assert f"-i {folder}/key -o IdentitiesOnly=yes -p 2222" in " ".join(command)
    assert not any("StrictHostKeyChecking" in word for word in command)


def test_boards_with_a_token(folder: Path) -> None:
    (folder / "token").write_text(TOKEN)
    (folder / "token").chmod(0o600)
    for address in ("rpc://pi:9090", "tracker://pi:9190/kind"):
        write(folder, f'[boards.pi]\naddress = "{address}"\ntoken_file = "{folder}/token"\n')
        found = find_boards("pi")
        assert isinstance(found, Place | Tracker)
        assert found.token == TOKEN
    (folder / "token").chmod(0o644)
    with pytest.raises(UserError, match=r"others may read the token .*chmod 600"):
        find_boards("pi")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[boards.pi\n", r"boards\.toml cannot be read: .*line 1"),
        ("[board.pi]\n", r"'board' is not known: boards stand under \[boards\.NAME\]"),
        ("boards = 1\n", "'boards' is not known"),
        ("[boards.pi]\n", r"\[boards\.pi\]: address is missing .*address = "),
        ('[boards.pi]\naddress = "http://pi"\n', "address is missing or of no kind"),
        ('[boards.pi]\naddress = "ssh://pi"\nadress = "x"\n', "'adress' is not known: the keys are"),
        ('[boards.pi]\naddress = "ssh://pi"\ncore = 72\n', 'core must be text in quotes: core = "'),
        ('[boards.pi]\naddress = "ssh://pi"\ncore = "a99"\n', "core: .*a99"),
        ('[boards.pi]\naddress = "ssh://pi"\npin = "5-4"\n', "pin: '5-4' names no CPU"),
        ('[boards.pi]\naddress = "ssh://pi"\nkey = "/no/key"\n', "key: there is no file /no/key"),
        ('[boards.pi]\naddress = "rpc://pi:1"\nkey = "/etc/hosts"\n', "key has no use with rpc://"),
        ('[boards.pi]\naddress = "ssh://pi"\ntoken_file = "/x"\n', "token_file has no use with ssh://"),
        ('[boards."a/b"]\naddress = "ssh://pi"\n', "a name has no ':'"),
        ('[boards.emulated]\naddress = "ssh://pi"\n', "none of `emulated`"),
    ],
)  # fmt: skip
def test_mistakes_are_told(folder: Path, text: str, said: str) -> None:
    write(folder, text)
    with pytest.raises(UserError, match=said) as caught:
        open_device("pi")
    assert str(folder / "boards.toml") in str(caught.value)


@pytest.mark.parametrize(
    "spec",
    ["ssh://", "ssh:pi", "ssh://-oProxyCommand=x", "ssh://a@-b", "ssh://pi:0", "ssh://pi:x", "ssh://pi/x",
     "ssh://a b", "ssh://-l@pi", "ssh://pi:70000", "ssh://$(x)@pi"],
)  # fmt: skip
def test_addresses_that_are_none(folder: Path, spec: str) -> None:
    with pytest.raises(UserError, match="ssh://USER@HOST:PORT"):
        find_boards(spec)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("spec", "destination", "port"),
    [
        ("ssh://pi", "pi", None),
        ("ssh://me@pi.local:22", "me@pi.local", 22),
        ("ssh://me@[fe80::1%eth0]:2200", "me@fe80::1%eth0", 2200),
        ("ssh://192.168.1.7/", "192.168.1.7", None),
    ],
)
def test_addresses(spec: str, destination: str, port: int | None) -> None:
    found = parse_address(spec)
    assert (found.destination, found.port, found.spec) == (destination, port, spec)
