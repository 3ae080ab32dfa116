"""The C library for this machine: run natively, and held against PyTorch."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import armature as loader
from compile.datasets import find_images
from compile.frontend import Traced, trace
from compile.pipeline import compile_model
from compile.preprocess import Preprocess, open_image
from compile.source import Source
from targets.cores import Core
from targets.host import X86_LEVELS, host_core
from targets.platforms import host_platform
from targets.toolchain import compile_object, compile_program
from tests.e2e import test_own_model
from tests.e2e.conftest import Armature, document
from tests.e2e.test_c_library import ECHO, ODD_CHANNELS, OUTPUTS, SOFTMAX, STRICT, user_of

PEAK = Path(__file__).with_name("c_library_peak.c")

# Windows over all channels at each stride, beside the image and dilated; dense layers of odd sizes.
DENSE = (f"{__name__}:dense", "--input", "input=1x3x29x31")


def dense() -> torch.nn.Module:
    """A network of convolutions that are no depthwise, and of dense layers."""
    torch.manual_seed(0)
    layers = torch.nn
    return layers.Sequential(
        *(layers.Conv2d(3, 13, 3, stride=2, padding=1), layers.ReLU()),
        *(layers.Conv2d(13, 24, 3, padding=2, dilation=2), layers.ReLU6()),
        *(layers.Conv2d(24, 24, 3, padding=1, groups=3), layers.Flatten()),
        *(layers.Linear(24 * 15 * 16, 37), layers.ReLU(), layers.Linear(37, 10)),
    )


def compiled(armature: Armature, folder: Path, model: Sequence[str]) -> Path:
    """The folder with the library that `model` becomes for this machine."""
    result = armature("compile", *model, "--target", "host", "-o", folder)
    assert result.exit_code == 0, result.stderr
    return folder


def manifest_of(folder: Path) -> dict[str, Any]:
    """What the folder says of itself."""
    manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
    return manifest


def close(ours: NDArray[Any], theirs: NDArray[Any]) -> bool:
    """Whether they are equal to 1e-3 of the largest number."""
    return bool(np.abs(ours.astype(np.float64) - theirs).max() <= 1e-3 * max(np.abs(theirs).max(), 1e-6))


NETWORKS = {
    "odd": ODD_CHANNELS,
    "outputs": OUTPUTS,
    "echo": ECHO,
    "softmax": SOFTMAX,
    "dense": DENSE,
}


@pytest.mark.parametrize("model", NETWORKS.values(), ids=NETWORKS)
def test_a_c_program_gives_pytorchs_numbers(
    armature: Armature, tmp_path: Path, model: tuple[str, ...]
) -> None:
    folder = compiled(armature, tmp_path / "out", model)
    check_numbers(folder, tmp_path, traced_of(folder))


@pytest.mark.parametrize("core", X86_LEVELS, ids=str)
def test_lower_levels_of_an_x86(tmp_path: Path, core: Core) -> None:
    if core.arch != host_platform().arch or not core.features < host_core().features:
        pytest.skip(f"{core} is no part of this machine, or all of it")
    source = Source(f"{test_own_model.__name__}:small_net", inputs={"picture": (1, 3, 24, 36)})
    folder = tmp_path / "out"
    compile_model(source, core, folder, nullcontext, artifact="c-library", platform=host_platform())
    image = np.random.default_rng(3).standard_normal((1, 3, 24, 36), np.float32)
    with loader.load(folder) as network:
        assert network.core == core.name
        assert close(network(image)[0], traced_of(folder).reference(image)[0])


def traced_of(folder: Path) -> Traced:
    """The network that the library was compiled from."""
    return trace(Source.from_json(manifest_of(folder)["source"]))


def check_numbers(folder: Path, scratch: Path, traced: Traced) -> None:
    """Hold what a C program gets of the library against PyTorch; it counts allocations, too."""
    manifest = manifest_of(folder)
    assert manifest["core"]["name"] == host_core().name and manifest["platform"] == host_platform().name
    (row,) = manifest["inputs"]
    image = np.random.default_rng(7).standard_normal(row["shape"], np.float32)
    image.tofile(scratch / "image.bin")
    user = user_of(folder, host_platform().zig)
    subprocess.run([user, scratch / "ours.bin", scratch / "image.bin"], check=True)
    content, at = (scratch / "ours.bin").read_bytes(), 0
    for expected in traced.reference(image):
        ours = np.frombuffer(content, expected.dtype, expected.size, at).reshape(expected.shape)
        at += ours.nbytes
        assert close(ours, expected)
    assert at == len(content)


@pytest.fixture(scope="module")
def mobilenet(armature: Armature, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MobileNetV2 1.0 at 224 pixels with its trained weights."""
    model = ("mobilenet_v2", "--weights", "imagenet")
    return compiled(armature, tmp_path_factory.mktemp("host") / "mobilenet", model)


@pytest.fixture(scope="module")
def traced(mobilenet: Path) -> Traced:
    """The same in PyTorch."""
    return traced_of(mobilenet)


def test_mobilenet_allocates_nothing_and_gives_pytorchs_numbers(
    mobilenet: Path, traced: Traced, tmp_path: Path
) -> None:
    check_numbers(mobilenet, tmp_path, traced)


def test_mobilenet_knows_real_images(mobilenet: Path, traced: Traced, images: Path) -> None:
    steps = Preprocess.from_json(manifest_of(mobilenet)["preprocess"])
    found = set()
    with loader.load(mobilenet) as network:
        for sample in find_images(images)[:10]:
            given = steps.apply(open_image(sample.path))
            (ours,), (theirs,) = network(given), traced.reference(given)
            assert close(ours, theirs) and ours.argmax() == theirs.argmax()
            found.add(int(ours.argmax()))
    assert len(found) > 5, "every image gave the same answer: the check proves nothing"


def test_weights_are_mapped_and_never_copied(mobilenet: Path) -> None:
    manifest, target = manifest_of(mobilenet), host_platform().zig
    busy = user_of(mobilenet, target, PEAK)
    compile_object(PEAK, mobilenet / "idle.o", STRICT, target)
    compile_program([mobilenet / "idle.o"], mobilenet / "idle", language="cc", target=target)
    peaks = [int(subprocess.check_output([program])) for program in (busy, mobilenet / "idle")]
    with loader.load(mobilenet) as network:
        planned = manifest["weights"]["bytes"] + network.workspace_bytes
    assert manifest["weights"]["bytes"] < peaks[0] - peaks[1] <= planned + 4 * 2**20


def test_run_has_the_weights_the_workspace_and_little_more(mobilenet: Path, tmp_path: Path) -> None:
    manifest, results = manifest_of(mobilenet), tmp_path / "results"
    np.zeros((1, 3, 224, 224), np.float32).tofile(tmp_path / "image.bin")
    os.mkfifo(results)
    with loader.load(mobilenet) as network:
        planned = manifest["weights"]["bytes"] + network.workspace_bytes
    command = [mobilenet / "run", "--input", tmp_path / "image.bin", "--output", results, "--json"]
    with full_pipe() as (told, end):  # the program cannot end before it has said the time
        process = subprocess.Popen(command, stdout=end)
        assert len(results.read_bytes()) == 4000
        status = Path(f"/proc/{process.pid}/status").read_text()
        os.close(end)
        told.read()
    assert process.wait() == 0
    peak = 1024 * int(status.partition("VmHWM:")[2].split()[0])
    assert manifest["weights"]["bytes"] < peak <= planned + 4 * 2**20


@contextmanager
def full_pipe() -> Iterator[tuple[BinaryIO, int]]:
    """A pipe that takes nothing more until it is read, and the end that the caller closes."""
    begin, end = os.pipe()
    os.set_blocking(end, False)
    with suppress(BlockingIOError):
        while True:
            os.write(end, bytes(4096))
    os.set_blocking(end, True)
    with os.fdopen(begin, "rb") as opened:
        yield opened, end


def test_the_command_line_runs_and_validates_it(armature: Armature, mobilenet: Path, images: Path) -> None:
    report = document(armature("validate", mobilenet, "--device", "host", "--limit", "4", "--json"))
    assert report["passed"] and report["images"] == 4 and report["device"] == "host"
    image = images / "imagenet_00_243.jpg"
    (found,) = document(armature("run", mobilenet, "--device", "host", "--input", image, "--json"))
    assert found["classes"][0]["label"] == 243
    for refused in (
        armature("validate", mobilenet, "--device", "emulated"),
        armature("bench", mobilenet, "--device", "host"),
        armature("board", "doctor", "host"),
    ):
        assert refused.exit_code == 2 and len(refused.stderr.splitlines()) <= 4


@pytest.mark.emulator
@pytest.mark.skipif(host_core().name not in ("x86-64-v3", "x86-64-v4"), reason="any x86-64 has as much")
def test_another_cpu_is_an_error_code(mobilenet: Path, tmp_path: Path) -> None:
    user = user_of(mobilenet, host_platform().zig)
    command = ["qemu-x86_64", "-cpu", "Nehalem", user, tmp_path / "ours.bin", tmp_path / "none.bin"]
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert refused.returncode == 3 and host_core().name in refused.stderr


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--cpu", "a53"), "a53"),
        (("--format", "both"), "--format"),
        (("--validate", "emulated"), "--device host"),
    ],
)
def test_what_does_not_go_with_the_host(
    armature: Armature, tmp_path: Path, options: tuple[str, ...], named: str
) -> None:
    result = armature("compile", "mobilenet_v2", "--target", "host", *options, "-o", tmp_path / "out")
    assert result.exit_code == 2 and named in result.stderr
    assert list(tmp_path.iterdir()) == []
