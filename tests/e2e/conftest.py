"""What the end-to-end tests share: the command line in this process, and bundles compiled once."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from compile.cli import main
from compile.datasets import default_images

Armature = Callable[..., Result]


@pytest.fixture(scope="session")
def armature() -> Armature:
    """`armature(*arguments)`: runs the command; the result has exit_code, stdout and stderr."""
    runner = CliRunner()

    def run(*arguments: object) -> Result:
        return runner.invoke(main, [str(argument) for argument in arguments], catch_exceptions=False)

    return run


@pytest.fixture(scope="session")
def images() -> Path:
    """The folder with the twenty labelled ImageNet images."""
    folder = default_images("classify")
    assert folder is not None
    return folder


@pytest.fixture(scope="session")
def small_bundle(armature: Armature, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MobileNetV2 0.35 at 96 pixels with calibrated random weights, for cortex-a53."""
    folder = tmp_path_factory.mktemp("bundles") / "small"
    compile_small(armature, folder, "cortex-a53")
    return folder


@pytest.fixture(scope="session")
def runtime_bundle(armature: Armature, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same for TVM's runtime."""
    folder = tmp_path_factory.mktemp("bundles") / "runtime"
    compile_small(armature, folder, "cortex-a53", "--format", "bundle")
    return folder


def compile_small(armature: Armature, folder: Path, cpu: str, *options: str) -> None:
    """Compile the small network for `cpu` into `folder`."""
    result = armature(
        *("compile", "mobilenet_v2", "--cpu", cpu, "-o", folder, *options),
        *("--arg", "width=0.35", "--input", "image=1x3x96x96", "--weights", "random:0"),
    )
    assert result.exit_code == 0, result.stderr


@pytest.fixture(scope="session")
def detector(armature: Armature, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """colours.Boxes at 64 pixels."""
    return _compile_colours(armature, "Boxes", tmp_path_factory.mktemp("detector"))


@pytest.fixture(scope="session")
def segmenter(armature: Armature, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """colours.Classes at 64 pixels."""
    return _compile_colours(armature, "Classes", tmp_path_factory.mktemp("segmenter"))


def _compile_colours(armature: Armature, network: str, folder: Path) -> Path:
    result = armature(
        *("compile", f"tests.e2e.colours:{network}", "--input", "image=1x3x64x64"),
        *("--cpu", "cortex-a53", "-o", folder / network),
    )
    assert result.exit_code == 0, result.stderr
    return folder / network


def document(result: Result) -> Any:
    """The JSON document on standard output, which must be all of it."""
    return json.loads(result.stdout)


def wait_for(check: Callable[[], Any], seconds: float = 60.0) -> Any:
    """What `check` gives once it is true."""
    end = time.monotonic() + seconds
    while not (found := check()):
        assert time.monotonic() < end
        time.sleep(0.1)
    return found
