"""A bundle on a phone over adb, as people use it (`tests/targets/phone.py` says what is emulated)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import Armature, document
from tests.targets.board_folder import wait_until
from tests.targets.phone import ADB, Phone, adb_server

pytestmark = [
    pytest.mark.emulator,
    pytest.mark.skipif(ADB is None, reason="adb is missing (Debian: adb)"),
]


@pytest.fixture
def phone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Phone]:
    with adb_server(tmp_path):
        phone = Phone(tmp_path / "board")
        monkeypatch.setenv("ARMATURE_CONFIG", str(phone.folder / "config"))
        phone.plug_in()
        yield phone
        phone.stop()


def test_network_is_validated_over_adb(armature: Armature, small_bundle: Path, phone: Phone) -> None:
    result = armature("validate", small_bundle, "--device", "phone", "--limit", "4", "--json")
    assert result.exit_code == 0, result.stderr
    report = document(result)
    assert report["device"] == "phone"
    assert report["passed"]
    wait_until(phone.is_clean)
    assert not phone.sessions()


@pytest.mark.usefixtures("phone")
def test_emulated_phone_is_not_measured(armature: Armature, small_bundle: Path) -> None:
    result = armature("bench", small_bundle, "--device", "phone", "--seconds", "1")
    assert result.exit_code == 2
    assert "emulate" in result.stderr


@pytest.mark.usefixtures("phone")
def test_phone_that_is_not_there_is_one_line(armature: Armature, small_bundle: Path) -> None:
    result = armature("validate", small_bundle, "--device", "adb://R58M12ABCDE")
    assert result.exit_code == 1
    assert "adb://R58M12ABCDE is not reachable: `adb devices` does not list R58M12ABCDE" in result.stderr
    assert "Traceback" not in result.stderr
