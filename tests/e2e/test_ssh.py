"""A bundle over SSH, as people use it: a board of boards.toml, on a real sshd (`tests/targets/sshd.py`)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import Armature, document
from tests.targets.board_folder import wait_until
from tests.targets.sshd import SSHD, Sshd

pytestmark = [
    pytest.mark.emulator,
    pytest.mark.skipif(not SSHD.exists(), reason="sshd is missing (Debian: openssh-server)"),
]


@pytest.fixture
def sshd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sshd]:
    server = Sshd(tmp_path / "board")
    monkeypatch.setenv("ARMATURE_CONFIG", str(server.folder / "config"))
    yield server
    server.stop()


def test_network_is_validated_over_ssh(armature: Armature, small_bundle: Path, sshd: Sshd) -> None:
    result = armature("validate", small_bundle, "--device", "pi", "--limit", "4", "--json")
    assert result.exit_code == 0, result.stderr
    report = document(result)
    assert report["device"] == "pi"
    assert report["passed"]
    wait_until(lambda: sshd.on_board() == [])
    assert [name.rpartition("/")[2] for name in sshd.files()] == ["run"]


def test_emulated_board_over_ssh_is_not_measured(armature: Armature, small_bundle: Path, sshd: Sshd) -> None:
    result = armature("bench", small_bundle, "--device", "pi", "--seconds", "1")
    assert result.exit_code == 2
    assert "emulate" in result.stderr
    wait_until(lambda: sshd.on_board() == [])


def test_unreachable_board_is_one_line(armature: Armature, small_bundle: Path, sshd: Sshd) -> None:
    sshd.stop()
    result = armature("validate", small_bundle, "--device", "pi")
    assert result.exit_code == 1
    assert "pi is not reachable (" in result.stderr
    assert "Traceback" not in result.stderr
