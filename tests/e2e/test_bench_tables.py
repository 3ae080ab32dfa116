"""The tables of `armature bench`, and one run priced for several cores."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from compile.bench import count_for_cores
from compile.bundle import open_bundle
from targets.cores import find_core
from targets.emulated.profile import Caches
from tests.e2e.conftest import Armature

pytestmark = pytest.mark.emulator


def test_table_for_one_core_fits_140_columns(armature: Armature, small_bundle: Path) -> None:
    result = armature("bench", small_bundle, "--device", "emulated:rpi4")
    assert result.exit_code == 0, result.stderr
    kernels = {row["name"] for row in json.loads((small_bundle / "manifest.json").read_text())["kernels"]}
    head, *rows = result.stdout.splitlines()[: len(kernels) + 1]
    assert "GFLOP/s" in head and "est. cycles" in head
    assert [row.split()[0] for row in rows] == [row.split()[0].removeprefix("fused_") for row in rows]
    assert max(map(len, (head, *rows))) <= 140


def test_several_cores_share_one_run(small_bundle: Path) -> None:
    bundle = open_bundle(small_bundle)
    cores = [find_core("a53"), find_core("a72")]
    both = count_for_cores(bundle, cores)
    assert [report.device.core for report in both] == cores
    for core, report in zip(cores, both, strict=True):
        assert report.caches == Caches.of(core)
        (alone,) = count_for_cores(bundle, [core])
        assert report.total.cycles == pytest.approx(alone.total.cycles, rel=1e-2)
        for row, single in zip(report.kernels, alone.kernels, strict=True):
            assert row.instructions == single.instructions
            assert row.core_cycles == single.core_cycles


def test_table_of_cores(armature: Armature, small_bundle: Path) -> None:
    text = armature("bench", small_bundle, "--core", "a53, cortex-a76,A53").stdout
    assert text.count("a53 peak") == 1 and "a76 peak" in text
    assert "emulated:cortex-a53: estimated" in text
    assert text.count("for milliseconds") == 1


def test_core_that_cannot_run_the_code(armature: Armature, small_bundle: Path) -> None:
    result = armature("bench", small_bundle, "--core", "a53,generic")
    assert result.exit_code == 2
    assert "needs crc, which generic lacks" in result.stderr
