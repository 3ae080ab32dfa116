"""The wheel holds all that the commands need, and they work from it, away from the checkout."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("armature", "compile", "schedules", "targets", "tuning_logs")
SMALL = ("--arg", "width=0.35", "--input", "image=1x3x32x32", "--weights", "random:0")

Run = Callable[..., str]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy of the sources by way of the source distribution, so that both are tested."""
    source = tmp_path_factory.mktemp("source")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    _python("-m", "build", "--no-isolation", cwd=source)
    (wheel,) = (source / "dist").glob("armature-*.whl")
    return wheel


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """`installed(*arguments)`: runs Python elsewhere with the wheel's packages, and not the checkout's."""
    site = tmp_path_factory.mktemp("site")
    _python("-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", site, wheel, cwd=site)
    elsewhere = tmp_path_factory.mktemp("elsewhere")

    def run(*arguments: object) -> str:
        return _python(*arguments, cwd=elsewhere, env={**os.environ, "PYTHONPATH": str(site)})

    for package in PACKAGES:
        place = run("-c", f"import {package}; print(*{package}.__path__)").strip()
        assert place.startswith(str(site / package)), place
    return run


def test_holds_every_file(wheel: Path) -> None:
    names = set(ZipFile(wheel).namelist())
    packed = {name for name in names if ".dist-info/" not in name}
    files = (path for package in PACKAGES for path in (ROOT / package).rglob("*") if path.is_file())
    assert packed == {str(path.relative_to(ROOT)) for path in files if "__pycache__" not in path.parts}
    assert {path.suffix for path in map(Path, packed)} >= {".py", ".c", ".h", ".tsv"}
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_says_its_licence_and_commands(wheel: Path) -> None:
    archive = ZipFile(wheel)
    info = {Path(name).name: name for name in archive.namelist() if ".dist-info/" in name}
    assert "License-Expression: Apache-2.0" in archive.read(info["METADATA"]).decode().splitlines()
    commands = archive.read(info["entry_points.txt"]).decode().split()
    assert {"armature", "compile"} <= set(commands)


def test_lists_cores(installed: Run) -> None:
    names = {row["name"] for row in json.loads(installed("-m", "compile.cli", "cores", "--json"))}
    assert "cortex-a72" in names


@pytest.mark.parametrize("artifact", ["c-library", "bundle"])
def test_compiles(installed: Run, tmp_path: Path, artifact: str) -> None:
    options = ("--cpu", "cortex-a53", "--format", artifact, "-o", tmp_path / "small", "--json")
    document = json.loads(installed("-m", "compile.cli", "compile", "mobilenet_v2", *SMALL, *options))
    assert Path(document["manifest"]).is_file()
    library = {"c-library": "libmobilenet_v2.so", "bundle": "model.so"}[artifact]
    assert {library, "run"} <= {path.name for path in (tmp_path / "small").iterdir()}


def _python(*arguments: object, cwd: Path, env: dict[str, str] | None = None) -> str:
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(
        command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout
