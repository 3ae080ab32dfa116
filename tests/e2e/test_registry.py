"""Every registered network on the emulated board, beside PyTorch, as what it is.

Two cores share the networks in the default run; `slow` runs the other of each, and every network once at its
full size.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from compile.bundle import Bundle
from compile.models import find_model, model_rows
from compile.pipeline import compile_model
from compile.predict import predict
from compile.source import Shape, Source
from compile.validate import validate
from targets.cores import find_core

pytestmark = pytest.mark.emulator

NAMES = [row["name"] for row in model_rows()]
CORES = ("cortex-a53", "cortex-a76")
SIZE = 64


def default_core(name: str) -> str:
    """The core of a network in the default run: the next one's is the other."""
    return CORES[NAMES.index(name) % len(CORES)]


def pairs() -> list[object]:
    """Each network on each core, marked `slow` but for its default."""
    return [
        pytest.param(name, core, marks=() if core == default_core(name) else pytest.mark.slow)
        for name in NAMES
        for core in CORES
    ]


def compiled(name: str, core: str, shape: Shape, folder: Path) -> Bundle:
    """The network with weights from a seed."""
    source = Source(name, weights="random:0", inputs={"image": shape})
    return compile_model(source, find_core(core), folder / "out", contextlib.nullcontext)


@pytest.mark.parametrize(("name", "core"), pairs())
def test_network_agrees_with_pytorch(name: str, core: str, tmp_path: Path, images: Path) -> None:
    bundle = compiled(name, core, (1, 3, SIZE, SIZE), tmp_path)
    report = validate(bundle, "emulated", images, 2)
    assert report.passed and len(report.records) == 2, report.to_json()
    files = [images / file for file in report.records]
    first, second = predict(bundle, "emulated", files, tmp_path)
    assert first.document != second.document, "two images gave the same answer: the check proves nothing"


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_network_of_full_size_agrees_with_pytorch(name: str, tmp_path: Path) -> None:
    bundle = compiled(name, default_core(name), find_model(name).input_shape, tmp_path)
    report = validate(bundle, "emulated", limit=1)
    assert report.passed, report.to_json()
