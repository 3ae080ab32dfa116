"""`armature bench`: counts by kernel on the emulated board."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from compile.bench import count, profile_bundle
from compile.bundle import open_bundle
from targets.cores import find_core
from targets.errors import UserError
from tests.e2e.conftest import Armature, document

pytestmark = pytest.mark.emulator


@pytest.fixture(scope="module")
def counted(armature: Armature, small_bundle: Path) -> Any:
    result = armature("bench", small_bundle, "--json")
    assert result.exit_code == 0, result.stderr
    return document(result)


def test_every_kernel_has_a_row(counted: Any, small_bundle: Path) -> None:
    kernels = json.loads((small_bundle / "manifest.json").read_text())["kernels"]
    rows = {row["name"]: row for row in counted["kernels"]}
    assert list(rows) == list(dict.fromkeys(kernel["name"] for kernel in kernels))
    assert sum(row["calls"] for row in rows.values()) == len(kernels)
    assert all(row["instructions"] > 0 for row in rows.values())
    for kernel in kernels:
        assert rows[kernel["name"]]["kind"] == kernel["kind"]
        assert rows[kernel["name"]]["shape"] == kernel["shape"]
    assert counted["total"]["multiply_adds"] == sum(kernel["multiply_adds"] for kernel in kernels)


def test_nearly_all_instructions_are_kernels(counted: Any) -> None:
    assert counted["kernels_share"] > 0.97  # 98.1% at this size
    rows = [*counted["kernels"], counted["runtime"]]
    for figure in ("instructions", "l1_misses", "l2_misses"):
        assert sum(row[figure] for row in rows) == pytest.approx(counted["total"][figure])
    assert sum(row["share"] for row in rows) == pytest.approx(1)
    assert sum(counted["runtime_files"].values()) == pytest.approx(counted["runtime"]["instructions"])
    assert {"run", "libc.so.6"} <= counted["runtime_files"].keys()
    assert counted["basis"] == "counted on the emulated board; not a time"


def test_counts_are_plausible(counted: Any, small_bundle: Path) -> None:
    """A vector instruction does four multiply-adds, and every weight is read."""
    total = counted["total"]
    assert 0.25 < total["instructions_per_multiply_add"] < 0.6
    lines = open_bundle(small_bundle).manifest["weights"]["bytes"] / 64
    assert total["l1_misses"] > lines
    assert total["l1_misses"] > total["l2_misses"] > lines / 2


def test_cycles_are_estimates_within_the_peak(counted: Any) -> None:
    assert counted["cycles_basis"].startswith("estimated") and counted["cycles_error"] is None
    for row in (*counted["kernels"], counted["total"]):
        assert row["cycles"] == pytest.approx(row["core_cycles"] + row["memory_cycles"])
        assert row["memory_cycles"] == pytest.approx(4 * row["l1_misses"] + 24 * row["l2_misses"])
        # The core issues two instructions a cycle at most.
        assert row["core_cycles"] > row["instructions"] / 2
        assert row["fma_peak"] is None or 0 < row["fma_peak"] <= 1


def test_counts_repeat(counted: Any, small_bundle: Path) -> None:
    bundle = open_bundle(small_bundle)
    again = count(bundle)
    for row, before in zip(again.kernels, counted["kernels"], strict=True):
        assert row.instructions == pytest.approx(before["instructions"], rel=1e-3)
    assert again.total.l1_misses == pytest.approx(counted["total"]["l1_misses"], rel=1e-2)
    assert again.total.l2_misses == pytest.approx(counted["total"]["l2_misses"], rel=1e-2)
    fast = profile_bundle(bundle, find_core(bundle.core), []).instructions
    assert fast == pytest.approx(again.total.instructions, rel=1e-3)


def test_table(armature: Armature, small_bundle: Path) -> None:
    result = armature("bench", small_bundle, "--device", "emulated:cortex-a72")
    assert result.exit_code == 0, result.stderr
    assert "counted on the emulated board (emulated:cortex-a72); not a time" in result.stdout
    assert "VM and runtime" in result.stdout
    assert "L1D 32 KiB 2-way, L2 1024 KiB 16-way" in result.stdout


@pytest.mark.parametrize("device", ["rpc://localhost:1", "tracker://localhost:1/pi"])
def test_other_devices_do_not_count(armature: Armature, small_bundle: Path, device: str) -> None:
    result = armature("bench", small_bundle, "--device", device)
    assert result.exit_code == 2
    assert "needs the emulated board" in result.stderr


@pytest.mark.parametrize("device", ["emulated:", "emulated:none", "nonsense"])
def test_unknown_devices(armature: Armature, small_bundle: Path, device: str) -> None:
    assert armature("bench", small_bundle, "--device", device).exit_code == 2


def test_core_that_lacks_features(small_bundle: Path) -> None:
    with pytest.raises(UserError, match=r"needs crc, which generic lacks"):
        count(open_bundle(small_bundle), "emulated:generic")
