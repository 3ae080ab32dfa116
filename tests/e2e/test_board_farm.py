"""`armature board serve`, `list` and `drain`, as people call them."""

from __future__ import annotations

import platform
import re
import subprocess
import sys

import pytest

from tests.e2e.conftest import Armature, document

COMMAND = (sys.executable, "-m", "compile.cli", "board", "serve")


@pytest.mark.emulator
def test_board_is_served_listed_and_drained(armature: Armature) -> None:
    with subprocess.Popen(
        [*COMMAND, "--device", "emulated:rpi4"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        found = re.fullmatch(r"listening on 127.0.0.1:(\d+)\n", server.stdout.readline())
        assert found is not None
        spec = f"rpc://127.0.0.1:{found[1]}"
        listed = armature("board", "list", spec)
        assert re.search(rf"{spec} .*emulated .* free", listed.stdout)
        (row,) = document(armature("board", "list", spec, "--json"))
        assert (row["state"], row["sessions"], row["last_error"]) == ("free", 0, None)
        drained = armature("board", "drain", spec)
        assert drained.exit_code == 0
        assert "is drained: it has ended" in drained.stdout
        assert server.wait(10) == 0
    assert armature("board", "drain", spec).exit_code == 1


@pytest.mark.skipif(platform.machine() == "aarch64", reason="this machine is a board")
def test_machine_that_is_no_board_says_so(armature: Armature) -> None:
    result = armature("board", "serve")
    assert result.exit_code == 2
    assert "--device emulated:CORE" in result.stderr


def test_list_without_boards_says_how_to_name_some(
    armature: Armature, tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARMATURE_CONFIG", str(tmp_path))
    result = armature("board", "list")
    assert result.exit_code == 0
    assert "no boards: name some in boards.toml" in result.stdout
