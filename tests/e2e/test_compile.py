"""`compile`: what it makes, and that it leaves nothing behind when it cannot."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from compile import pipeline
from compile.bundle import open_bundle, sha256
from tests.e2e.conftest import Armature, compile_small, document

pytestmark = pytest.mark.emulator


def test_json_names_the_manifest(armature: Armature, tmp_path: Path) -> None:
    result = armature(
        *("compile", "mobilenet_v2", "--target", "arm_cpu", "--cpu", "cortex-a53"),
        *("-o", tmp_path / "out", "--input", "image=1x3x64x64", "--json"),
    )
    assert result.exit_code == 0
    manifest = Path(document(result)["manifest"])
    assert json.loads(manifest.read_text())["core"]["name"] == "cortex-a53"


def test_manifest_describes_the_network(small_bundle: Path) -> None:
    manifest = json.loads((small_bundle / "manifest.json").read_text())
    assert manifest["inputs"] == [
        {"name": "image", "shape": [1, 3, 96, 96], "dtype": "float32", "layout": "NCHW"}
    ]
    assert manifest["outputs"][0]["shape"] == [1, 1000]
    assert manifest["task"] == "classify" and manifest["labels"] == "imagenet"
    kinds = [kernel["kind"] for kernel in manifest["kernels"]]
    assert {kind: kinds.count(kind) for kind in kinds} == {
        "bottleneck": 7, "pointwise": 21, "depthwise": 10, "pool": 1, "dense": 1,
    }  # fmt: skip
    assert sum(kernel["multiply_adds"] for kernel in manifest["kernels"]) == manifest["multiply_adds"]
    assert manifest["peak_activation_bytes"] >= 4 * 48 * 48 * 8
    assert manifest["weights"]["bytes"] >= 4 * 1280 * 1000


def test_manifest_has_every_file(small_bundle: Path, runtime_bundle: Path) -> None:
    library = {f"libmobilenet_v2.{kind}" for kind in ("so", "a")} | {"mobilenet_v2.h", "run"}
    for folder, expected in (
        (small_bundle, library),
        (runtime_bundle, {"model.so", "run", "interface.txt"}),
    ):
        manifest = json.loads((folder / "manifest.json").read_text())
        files = {path.name for path in folder.iterdir()} - {"manifest.json"}
        assert set(manifest["files"]) == files == expected
        assert all(sha256(folder / name) == digest for name, digest in manifest["files"].items())
        assert (folder / "run").stat().st_mode & stat.S_IXUSR


def test_a_bundle_is_replaced_but_nothing_else(armature: Armature, tmp_path: Path) -> None:
    compile_small(armature, tmp_path / "out", "cortex-a53")
    compile_small(armature, tmp_path / "out", "cortex-a72")
    assert open_bundle(tmp_path / "out").core == "cortex-a72"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_interrupt_leaves_nothing(
    armature: Armature, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*arguments: object) -> None:
        folder = arguments[3]
        assert isinstance(folder, Path)
        (folder / "libmobilenet_v2.so").write_text("half a library")
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "build_c_library", interrupt)
    result = armature(
        *("compile", "mobilenet_v2", "-o", tmp_path / "out", "--weights", "random:0"),
        *("--input", "image=1x3x32x32"),
    )
    assert result.exit_code == 130
    assert list(tmp_path.iterdir()) == []


def test_failed_link_keeps_the_earlier_bundle(
    armature: Armature, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compile_small(armature, tmp_path / "out", "cortex-a53")
    monkeypatch.setattr("targets.toolchain.find_spec", lambda _name: None)
    result = armature("compile", "mobilenet_v2", "-o", tmp_path / "out", "--input", "image=1x3x32x32")
    assert result.exit_code == 2
    assert "ziglang" in result.stderr
    assert open_bundle(tmp_path / "out").core == "cortex-a53"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_script_exit_code_and_message() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "compile.cli", "compile", "no_such_model"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert "no_such_model" in done.stderr and "armature models" in done.stderr
    assert "Traceback" not in done.stderr
