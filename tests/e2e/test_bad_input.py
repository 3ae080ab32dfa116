"""What cannot be used: one or two lines that name it and the remedy, exit code 2, nothing left behind."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.e2e.conftest import Armature, compile_small

pytestmark = pytest.mark.emulator


def check(result: object, *words: str) -> None:
    """Exit code 2, and an error of at most two lines with these words."""
    assert result.exit_code == 2  # type: ignore[attr-defined]
    error = result.stderr[result.stderr.index("error:") :]  # type: ignore[attr-defined]
    assert len(error.strip().splitlines()) <= 2, error
    assert "Traceback" not in error
    for word in words:
        assert word in error, error


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["mobilenet_v3"], ["mobilenet_v3", "mobilenet_v2", "armature models"]),
        (["mobilenet_v2", "--cpu", "cortex-a74"], ["cortex-a74", "armature cores"]),
        (["mobilenet_v2", "--arg", "depth=3"], ["depth", "width"]),
        (["mobilenet_v2", "--arg", "width"], ["--arg", "NAME=VALUE"]),
        (["mobilenet_v2", "--arg", "width=0.5"], ["imagenet", "width=1.0"]),
        (["mobilenet_v2", "--weights", "nowhere.pth"], ["nowhere.pth", "random:SEED"]),
        (["mobilenet_v2", "--input", "image=1x4x32x32"], ["1x4x32x32"]),
        (["mobilenet_v2", "--input", "picture=1x3x32x32"], ["picture", "image"]),
        (["mobilenet_v2", "--input", "image=1x3xBIG"], ["1x3xBIG", "1x3x224x224"]),
        (["missing.pt2"], ["missing.pt2"]),
        (["no_module:net"], ["no_module"]),
        (["tests.e2e.test_own_model:nothing", "--input", "x=1x3x8x8"], ["nothing"]),
        (["tests.e2e.test_own_model:small_net"], ["--input picture=1x3x224x224"]),
        (["tests.e2e.test_own_model:small_net", "--input", "picture=1x4x32x32"], ["1x4x32x32", "--input"]),
    ],
)
def test_compile(armature: Armature, tmp_path: Path, arguments: list[str], words: list[str]) -> None:
    check(armature("compile", *arguments, "-o", tmp_path / "out"), *words)
    assert list(tmp_path.iterdir()) == []


def test_damaged_exported_program(armature: Armature, tmp_path: Path) -> None:
    (tmp_path / "net.pt2").write_bytes(b"not an archive")
    check(armature("compile", tmp_path / "net.pt2", "-o", tmp_path / "out"), "net.pt2", "torch.export")


class Code:
    """What a pickle may run; this one does no harm."""

    def __reduce__(self) -> Any:
        return print, ("it ran",)


def test_pickled_code(armature: Armature, tmp_path: Path) -> None:
    torch.save({"weight": Code()}, tmp_path / "code.pth")
    arguments = ("compile", "mobilenet_v2", "--input", "image=1x3x32x32", "--weights", tmp_path / "code.pth")
    result = armature(*arguments, "-o", tmp_path / "out")
    check(result, "code.pth", "--trust")
    assert "it ran" not in result.stdout
    trusting = armature(*arguments, "-o", tmp_path / "out", "--trust")
    check(trusting, "code.pth", "holds no tensors")
    assert "it ran" in trusting.stdout


@pytest.mark.parametrize("device", ["toaster", "emulated:cortex-a74", "rpc://nowhere", "tracker://host:1"])
def test_unknown_device(armature: Armature, small_bundle: Path, device: str) -> None:
    check(armature("validate", small_bundle, "--device", device), device.rpartition(":")[2])


def test_output_holds_something_else(armature: Armature, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    check(armature("compile", "mobilenet_v2", "-o", tmp_path), str(tmp_path), "-o")
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_output_is_not_writable(armature: Armature) -> None:
    result = armature("compile", "mobilenet_v2", "--input", "image=1x3x32x32", "-o", "/proc/armature")
    check(result, "/proc", "-o")


def test_not_an_image(armature: Armature, small_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "letter.jpg").write_text("Dear Sir or Madam")
    check(armature("run", small_bundle, "--input", tmp_path / "letter.jpg"), "letter.jpg")
    check(armature("validate", small_bundle, "--data", tmp_path / "letter.jpg"), "letter.jpg")


def test_not_a_bundle(armature: Armature, tmp_path: Path) -> None:
    check(armature("validate", tmp_path), str(tmp_path), "not a bundle")
    check(armature("validate", tmp_path / "none"), "none", "compile MODEL")


def test_changed_file(armature: Armature, small_bundle: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(small_bundle, copy)
    library = copy / "libmobilenet_v2.so"
    with library.open("ab") as file:
        file.write(b"\0")
    check(armature("validate", copy), library.name, "sha256")
    library.unlink()
    check(armature("run", copy, "--input", "x.jpg"), library.name, "missing")


def test_core_that_the_device_lacks(armature: Armature, tmp_path: Path) -> None:
    compile_small(armature, tmp_path / "out", "cortex-a76")
    check(
        armature("validate", tmp_path / "out", "--device", "emulated:cortex-a53"),
        "cortex-a76", "dotprod", "emulated:cortex-a53", "--cpu",
    )  # fmt: skip


def test_emulator_missing(
    armature: Armature, small_bundle: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    check(armature("validate", small_bundle), "qemu-aarch64", "qemu-user")


def test_misspelt_option(armature: Armature) -> None:
    result = armature("compile", "mobilenet_v2", "--cpux", "a53")
    assert result.exit_code == 2 and "--cpu" in result.stderr
