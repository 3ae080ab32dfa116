"""`armature bench`: counts by kernel on the emulated board."""

from __future__ import annotations

import json
import re
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
    assert counted["kernels_share"] > 0.998  # 99.99% at this size
    rows = [*counted["kernels"], counted["runtime"]]
    for figure in ("instructions", "l1_misses", "l2_misses"):
        assert sum(row[figure] for row in rows) == pytest.approx(counted["total"][figure])
    assert sum(row["share"] for row in rows) == pytest.approx(1)
    assert sum(counted["runtime_files"].values()) == pytest.approx(counted["runtime"]["instructions"])
    assert {"run", "libmobilenet_v2.so"} <= counted["runtime_files"].keys()
    assert counted["basis"].endswith("nothing is measured")


def test_so_they_are_in_a_bundle_for_tvms_runtime(armature: Armature, runtime_bundle: Path) -> None:
    counted = document(armature("bench", runtime_bundle, "--json"))
    assert counted["kernels_share"] > 0.97  # 98.1% at this size
    assert counted["runtime"]["name"] == "VM and runtime"
    assert {"run", "libc.so.6"} <= counted["runtime_files"].keys()
    assert all(row["instructions"] > 0 for row in counted["kernels"])


def test_counts_are_plausible(counted: Any, small_bundle: Path) -> None:
    """A vector instruction does four multiply-adds (in order, three load a vector); every weight is read."""
    total = counted["total"]
    assert 0.25 < total["instructions_per_multiply_add"] < 0.65
    lines = open_bundle(small_bundle).manifest["weights"]["bytes"] / 64
    assert total["l1_misses"] > lines
    assert total["l1_misses"] > total["l2_misses"] > lines / 2


def test_cycles_are_estimates_within_the_peak(counted: Any) -> None:
    assert counted["cycles_basis"].startswith("estimated")
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


def test_estimates_repeat(armature: Armature, small_bundle: Path) -> None:
    first, second = (
        document(armature("bench", small_bundle, "--device", "emulated:rpi4", "--json")) for _ in range(2)
    )
    assert first["total"]["instructions"] == pytest.approx(second["total"]["instructions"], rel=1e-3)
    assert first["estimated_ms"] == pytest.approx(second["estimated_ms"], rel=1e-2)


def test_time_is_cycles_at_the_boards_clock(armature: Armature, small_bundle: Path) -> None:
    found = document(armature("bench", small_bundle, "--device", "emulated:rpi4", "--json"))
    assert (found["board"], found["ghz"]) == ("rpi4", 1.8)
    assert found["estimated_ms"] == pytest.approx(found["total"]["cycles"] / 1.8e6)
    for row in found["kernels"]:
        flops = 2 * row["multiply_adds"] / (row["cycles"] / 1.8)
        assert (row["gflops"] or 0) == pytest.approx(flops)
    faster = document(
        armature("bench", small_bundle, "--device", "emulated:cortex-a72", "--ghz", "3.6", "--json")
    )
    assert faster["estimated_ms"] == pytest.approx(found["estimated_ms"] / 2, rel=1e-2)


def test_one_run_is_priced_for_several_cores(armature: Armature, small_bundle: Path) -> None:
    several = document(armature("bench", small_bundle, "--core", "a53,cortex-a72", "--json"))
    assert [report["core"] for report in several["cores"]] == ["cortex-a53", "cortex-a72"]
    for report in several["cores"]:
        alone = document(armature("bench", small_bundle, "--device", f"emulated:{report['core']}", "--json"))
        assert report["caches"] == alone["caches"]
        for figure, close in (("instructions", 1e-3), ("cycles", 1e-2)):
            assert report["total"][figure] == pytest.approx(alone["total"][figure], rel=close)


def test_table(armature: Armature, small_bundle: Path) -> None:
    result = armature("bench", small_bundle, "--device", "emulated:rpi4")
    assert result.exit_code == 0, result.stderr
    assert re.search(r"estimated [\d.]+ ms \(model error about \d+%\)", result.stdout)
    assert "nothing was measured" in result.stdout
    assert re.search(r"^calls ", result.stdout, re.MULTILINE)
    assert "L1D 32 KiB 2-way, L2 1024 KiB 16-way" in result.stdout


def test_without_a_clock_there_are_no_milliseconds(armature: Armature, small_bundle: Path) -> None:
    result = armature("bench", small_bundle, "--device", "emulated:cortex-a72")
    assert " ms " not in result.stdout
    assert "--device emulated:rpi4" in result.stdout


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--core", "a53", "--device", "emulated:rpi4"), "give one of them"),
        (("--core", "a53,,a72"), "commas between"),
        (("--core", "a99"), "unknown core"),
        (("--core", "a53", "--ghz", "1.4"), "--ghz"),
        (("--ghz", "0"), "--ghz"),
    ],
)
def test_options_that_do_not_go_together(
    armature: Armature, small_bundle: Path, options: tuple[str, ...], said: str
) -> None:
    result = armature("bench", small_bundle, *options)
    assert result.exit_code == 2
    assert said in result.stderr


@pytest.mark.parametrize("device", ["emulated:", "emulated:none", "nonsense"])
def test_unknown_devices(armature: Armature, small_bundle: Path, device: str) -> None:
    assert armature("bench", small_bundle, "--device", device).exit_code == 2


def test_core_that_lacks_features(small_bundle: Path) -> None:
    with pytest.raises(UserError, match=r"needs crc, which generic lacks"):
        count(open_bundle(small_bundle), "emulated:generic")
