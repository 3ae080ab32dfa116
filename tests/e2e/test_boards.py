"""Boards on the command line: the table, a bundle for one, and one to validate on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.e2e.conftest import Armature, document


def test_table(armature: Armature) -> None:
    text = armature("boards")
    rows = document(armature("boards", "--json"))
    assert text.exit_code == 0
    assert all(row["name"] in text.stdout and row["title"] in text.stdout for row in rows)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--board", "rpi4", "--cpu", "generic"], ["--cpu", "--board"]),
        (["--board", "rpi44"], ["rpi44", "rpi4", "armature boards"]),
        (["--board", ""], ["armature boards"]),
        (["--cpu", ""], ["armature cores"]),
    ],
)
def test_unusable(armature: Armature, tmp_path: Path, options: list[str], words: list[str]) -> None:
    result = armature("compile", "mobilenet_v2", *options, "-o", tmp_path / "out")
    assert result.exit_code == 2
    assert all(word in result.stderr for word in words), result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.emulator
def test_compile_for_one_and_validate_on_another(
    armature: Armature, small_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = document(
        armature("validate", small_bundle, "--device", "emulated:rpi3b+", "--limit", 1, "--json")
    )
    assert report["device"] == "emulated:cortex-a53" and report["images"] == 1

    monkeypatch.chdir(tmp_path)
    result = armature(
        *("compile", "mobilenet_v2", "--board", "rpi4", "--weights", "random:0"),
        *("--arg", "width=0.35", "--input", "image=1x3x96x96", "--json"),
    )
    assert result.exit_code == 0, result.stderr
    assert document(result)["bundle"] == "mobilenet_v2-cortex-a72"
    manifest = json.loads((tmp_path / "mobilenet_v2-cortex-a72" / "manifest.json").read_text())
    assert manifest["core"]["name"] == "cortex-a72"
