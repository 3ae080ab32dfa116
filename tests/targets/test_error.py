"""The model's known error, as it is read and quoted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from targets.boards import find_board
from targets.cores import find_core
from targets.emulated.error import CALIBRATION, Known, describe_error, known_error
from targets.errors import UserError


@pytest.fixture
def calibration(tmp_path: Path) -> Path:
    file = tmp_path / "calibration.json"
    cores = {"cortex-a72": {"error": 0.15, "rows": []}, "cortex-a53": {"error": 0.06}}
    file.write_text(json.dumps({"format": 1, "cores": cores, "boards": {"pixel1": {"error": 0.24}}}))
    return file


@pytest.mark.parametrize(
    ("core", "board", "known"),
    [
        ("cortex-a72", None, Known(0.15, "cortex-a72")),
        ("cortex-a73", None, Known(0.15, "cortex-a72")),  # priced as A72, and like it
        ("cortex-a57", None, None),  # like A72, but has a model of its own
        ("cortex-a76", None, None),
        ("cortex-a72", "rpi4", Known(0.15, "cortex-a72")),
        ("cortex-a72", "pixel1", Known(0.24, "pixel1")),
    ],
)
def test_whose_error_it_is(calibration: Path, core: str, board: str | None, known: Known | None) -> None:
    assert known_error(find_core(core), find_board(board) if board else None, calibration) == known


def test_without_calibration_the_error_is_unknown(tmp_path: Path) -> None:
    assert known_error(find_core("cortex-a72"), file=tmp_path / "none.json") is None


@pytest.mark.parametrize("text", ["", "[]", '{"format": 2, "cores": {}}', '{"format": 1, "cores": {"a": 1}}'])
def test_damaged_calibration(tmp_path: Path, text: str) -> None:
    file = tmp_path / "calibration.json"
    file.write_text(text)
    with pytest.raises(UserError, match="install Armature again"):
        known_error(find_core("cortex-a72"), file=file)


def test_how_it_is_quoted() -> None:
    known = known_error(find_core("cortex-a72"))
    assert known is not None and CALIBRATION.is_file()
    assert describe_error(find_core("cortex-a72")) == f"model error about {known.error:.0%}"
    assert describe_error(find_core("cortex-a76")) == "model error unknown"
