"""The table of boards against the table of cores and against itself, and what is made of a row."""

from __future__ import annotations

import dataclasses
import json
import re
from contextlib import nullcontext

import pytest

from targets import device
from targets.boards import BOARD, BOARDS, CORE, Board, Cluster, big_core, board_rows, find_board
from targets.cores import Core, find_core
from targets.emulated import spec
from targets.errors import UserError

every_board = pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.name)


@every_board
def test_row_is_whole(board: Board) -> None:
    assert re.fullmatch(r"[a-z0-9+-]+", board.name)
    assert board.title and board.soc and board.source and board.clusters
    assert board.memory_of in (CORE, BOARD)
    assert 1 < board.memory_gbs < 150


@every_board
def test_clusters_are_of_known_cores(board: Board) -> None:
    for cluster in board.clusters:
        core = find_core(cluster.core)
        assert core.name == cluster.core
        assert 1 <= cluster.count <= 8
        assert 0.5 < cluster.ghz < 4
        sets = cluster.l2_kib * 1024 // (64 * core.l2_ways)
        assert sets * 64 * core.l2_ways == cluster.l2_kib * 1024
        assert sets & (sets - 1) == 0


@every_board
def test_biggest_core_comes_first(board: Board) -> None:
    first = board.clusters[0]
    assert big_core(board) == dataclasses.replace(find_core(first.core), l2_kib=first.l2_kib)


def test_names_are_unique_and_no_cores() -> None:
    assert len({board.name for board in BOARDS}) == len(BOARDS)
    for board in BOARDS:
        with pytest.raises(UserError):
            find_core(board.name)


@pytest.mark.parametrize(
    ("name", "core", "l2_kib"),
    [("rpi3b+", "cortex-a53", 512), ("rpi4", "cortex-a72", 1024), ("pixel6", "cortex-x1", 1024)],
)
def test_big_core(name: str, core: str, l2_kib: int) -> None:
    found = big_core(find_board(name))
    assert (found.name, found.l2_kib) == (core, l2_kib)


def test_big_core_is_not_the_one_with_the_highest_clock() -> None:
    clusters = (Cluster("cortex-a55", 4, 2.0, 128), Cluster("cortex-a76", 2, 1.8, 256))
    core = big_core(Board("x", "X", "X1", clusters, 10.0, CORE, "none"))
    assert (core.name, core.l2_kib) == ("cortex-a76", 256)


def test_the_core_is_the_tables_but_for_its_cache() -> None:
    core = big_core(find_board("odroid-n2+"))
    assert core.l2_kib == 1024 != find_core("cortex-a73").l2_kib
    assert dataclasses.replace(core, l2_kib=2048) == find_core("cortex-a73")


@pytest.mark.parametrize("name", ["rpi4", "RPI4", " rpi4 "])
def test_find_board(name: str) -> None:
    assert find_board(name).name == "rpi4"


@pytest.mark.parametrize(
    ("name", "near"), [("rpi", "rpi"), ("rpi3b", "rpi3b+"), ("pixel", "pixel"), ("", "")]
)
def test_unknown_board_names_the_nearest(name: str, near: str) -> None:
    with pytest.raises(UserError, match=f"unknown board '{name}': .*{re.escape(near)}.*`armature boards`"):
        find_board(name)


def test_rows_are_json() -> None:
    rows = json.loads(json.dumps(board_rows()))
    assert [row["name"] for row in rows] == [board.name for board in BOARDS]
    row = next(row for row in rows if row["name"] == "rk3399")
    assert row["clusters"][1] == {"core": "cortex-a53", "count": 4, "ghz": 1.4, "l2_kib": 512}
    assert row["big_core"] == "cortex-a72"
    assert set(row) == {field.name for field in dataclasses.fields(Board)} | {"big_core"}


# -- emulated:BOARD


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Core]:
    """The cores that were to be emulated; none is."""
    cores: list[Core] = []

    def remember(core: Core, _seconds: float) -> nullcontext[None]:
        cores.append(core)
        return nullcontext()

    monkeypatch.setattr(device, "_open_emulated", remember)
    return cores


@pytest.mark.parametrize("board", [board.name for board in BOARDS])
def test_a_board_emulates_its_biggest_core(board: str, opened: list[Core]) -> None:
    device.open_device(f"emulated:{board}", find_core("generic"))
    assert opened == [big_core(find_board(board))]


def test_the_name_of_a_core_wins(opened: list[Core], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spec, "find_board", lambda _: pytest.fail("asked for a board"))
    device.open_device("emulated:a73")
    assert opened == [find_core("cortex-a73")]


def test_unknown_name_tells_of_cores_and_boards() -> None:
    with pytest.raises(
        UserError, match=r"core 'rpi9'.*`armature cores`.*board 'rpi9'.*rpi.*`armature boards`"
    ):
        device.open_device("emulated:rpi9")
