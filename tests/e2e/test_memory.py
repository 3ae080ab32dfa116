"""What a bundle allocates on the emulated board, and networks whose outputs try the plan."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from targets.cores import find_core
from targets.emulated.launch import Launch, run_program
from tests.e2e.conftest import Armature, document

pytestmark = pytest.mark.emulator

PAGE = 4096
MAPPED = 64 * 1024


def allocations(bundle: Path, folder: Path, repeat: int) -> list[str]:
    """The system calls that ask for memory, from the reading of the input on."""
    manifest = json.loads((bundle / "manifest.json").read_text())
    (shape,) = (row["shape"] for row in manifest["inputs"])
    image, trace = folder / "image.bin", folder / f"trace-{repeat}"
    torch.zeros(shape).numpy().tofile(image)
    command = [str(bundle / "run"), "--input", str(image), "--repeat", str(repeat)]
    # With a threshold that does not move, glibc maps every big allocation by itself.
    launch = Launch(env={"MALLOC_MMAP_THRESHOLD_": str(MAPPED)})
    run_program(find_core("cortex-a53"), command, launch, ("-strace", "-D", str(trace)))
    _, _, inferences = trace.read_text().partition(str(image))
    return re.findall(r"((?:mmap|brk|mremap)\([^)]*\))", inferences)


def test_the_manifest_says_what_is_allocated(armature: Armature, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    result = armature(
        *("compile", "mobilenet_v2", "--cpu", "a53", "-o", bundle, "--weights", "random:0"),
        *("--arg", "width=0.35", "--input", "image=1x3x192x192", "--format", "bundle"),
    )
    assert result.exit_code == 0, result.stderr
    planned = json.loads((bundle / "manifest.json").read_text())["peak_activation_bytes"]
    assert planned > 2 * MAPPED
    once, often = (allocations(bundle, tmp_path, repeat) for repeat in (1, 4))
    assert once == often, "an inference after the first asks for memory"
    mapped = [int(size) for size in re.findall(r"mmap\(NULL,(\d+)", " ".join(once))]
    assert len(mapped) == 1, "the arena, and nothing else that is big"
    outputs = 4 * 1000
    assert planned - outputs <= mapped[0] <= planned - outputs + 3 * PAGE


class Outputs(nn.Module):
    """Outputs that are intermediates too, one twice, one a view of another, and the input itself."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.last = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 5, 1)
        self.wide, self.narrow = nn.Conv2d(16, 32, 1), nn.Conv2d(32, 16, 1)

    def forward(self, picture: Tensor) -> tuple[Tensor, ...]:
        x = torch.relu(self.stem(picture))
        y = x + self.narrow(self.wide(x))
        pooled = y.mean((2, 3), keepdim=True)
        return self.last(y), pooled, pooled.flatten(1), y + x, torch.relu(self.last(torch.relu(x)))


def outputs() -> nn.Module:
    """What the bundle of several outputs holds."""
    torch.manual_seed(0)
    return Outputs()


class Echo(nn.Module):
    """A network that gives its input back beside a result."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)

    def forward(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        return picture, self.conv(picture)


def echo() -> nn.Module:
    """What the bundle of an input returned holds."""
    torch.manual_seed(0)
    return Echo()


@pytest.mark.parametrize("model", ["outputs", "echo"])
def test_outputs_agree_with_pytorch(armature: Armature, tmp_path: Path, model: str) -> None:
    result = armature(
        *("compile", f"{__name__}:{model}", "--input", "picture=1x3x17x15", "--cpu", "a72"),
        *("-o", tmp_path / "out", "--validate", "emulated", "--json"),
    )
    assert result.exit_code == 0, result.stderr
    assert document(result)["validation"]["passed"]
