"""C libraries for 32-bit cores, under qemu-arm, beside PyTorch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import compile.c_library
from targets.cores import ARMV7, find_core
from targets.emulated.profile import REPEAT, instructions_per_repeat
from targets.platforms import arm_platform
from targets.toolchain import compile_object, compile_program
from tests.e2e.conftest import Armature
from tests.e2e.test_c_library import MOBILENET, ODD_CHANNELS, STRICT, compiled, emulated, user_of
from tests.e2e.test_host import close, traced_of

pytestmark = pytest.mark.emulator

TARGET = arm_platform("linux", ARMV7).zig
TRAINED = ("mobilenet_v2", "--weights", "imagenet")
INSTRUCTIONS = {MOBILENET: 6.1e6, TRAINED: 130e6}
"""More than a run takes, of one thread."""


@pytest.fixture(scope="module")
def small(armature: Armature, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Odd sizes and channels, with multiply-adds of one rounding and without."""
    folder = tmp_path_factory.mktemp("small") / "out"
    return compiled(armature, folder, ODD_CHANNELS, "cortex-a15,cortex-a9", "c-library")


def check_numbers(folder: Path, scratch: Path, cpu: str, core: str) -> None:
    """Hold what a C program gets under QEMU's `cpu`, by the kernels for `core`, against PyTorch."""
    traced = traced_of(folder)
    (row,) = traced.inputs
    image = np.random.default_rng(7).standard_normal(row.shape, np.float32)
    image.tofile(scratch / "image.bin")
    command = (user_of(folder, TARGET), scratch / "ours.bin", scratch / "image.bin")
    done = emulated(*command, cpu=cpu, arch=ARMV7)
    assert (done.returncode, done.stdout) == (0, f"{core}\n"), done.stderr
    (expected,) = traced.reference(image)
    assert close(np.fromfile(scratch / "ours.bin", np.float32).reshape(expected.shape), expected)


# What CPU it is, QEMU does not say here: the first whose instructions the CPU has is taken.
@pytest.mark.parametrize(
    ("cpu", "core"),
    [("cortex-a15", "cortex-a15"), ("cortex-a7", "cortex-a15"), ("cortex-a9", "cortex-a9")],
)
def test_a_c_program_gives_pytorchs_numbers(small: Path, tmp_path: Path, cpu: str, core: str) -> None:
    check_numbers(small, tmp_path, cpu, core)


def instructions(folder: Path, core: str, image: Path) -> float:
    """Of one run of the program beside the library, by one thread."""
    command = [folder / "run", "--input", image, "--repeat", REPEAT]
    return instructions_per_repeat(find_core(core), list(map(str, command)))


def test_instructions_of_the_program_are_counted(small: Path, tmp_path: Path) -> None:
    np.zeros((1, 3, 33, 47), np.float32).tofile(tmp_path / "image.bin")
    fused, apart = (instructions(small, core, tmp_path / "image.bin") for core in ("cortex-a15", "cortex-a9"))
    assert 100e3 < fused < apart < 1500e3


NAMED = """
#include "small_net.h"
int main(int count, char **arguments) {
  small_net_options options = {0, 0, 0, 0, 0};
  small_net_handle *handle;
  options.core = arguments[count - 1];
  return small_net_create(&options, &handle);
}
"""
ERROR_CPU = 5


@pytest.mark.parametrize(("cpu", "error"), [("cortex-a15", 0), ("cortex-a9", ERROR_CPU)])
def test_another_cpu_is_an_error_code(small: Path, tmp_path: Path, cpu: str, error: int) -> None:
    source, program = tmp_path / "named.c", tmp_path / "named"
    source.write_text(NAMED)
    compile_object(source, tmp_path / "named.o", (*STRICT, f"-I{small}"), TARGET)
    linking = (f"-L{small}", "-lsmall_net", f"-Wl,-rpath,{small}")
    compile_program([tmp_path / "named.o"], program, linking, "cc", TARGET)
    assert emulated(program, "cortex-a15", cpu=cpu, arch=ARMV7).returncode == error


PART = """
#include "cpus.h"
#include "cpu_hwcap.h"
int main(int count, char **arguments) {
  (void)suits_cpu;
  (void)fastest_part;
  (void)pin_to_fastest;
  printf("%x", part_of(atoi(arguments[count - 1])));
  return 0;
}
"""
CPUINFO = """\
processor\t: {number}
model name\t: ARMv7 Processor rev 3 (v7l)
Features\t: half thumb fastmult vfp edsp neon vfpv3 tls vfpv4 idiva idivt vfpd32 lpae
CPU implementer\t: 0x41
CPU architecture: 7
CPU variant\t: 0x0
CPU part\t: {part:#x}
CPU revision\t: 3

"""


def test_the_design_of_a_cpu_is_read(tmp_path: Path) -> None:
    designs = [*[0xC07] * 4, *[0xC0F] * 4]  # as of an Exynos 5422
    text = "".join(CPUINFO.format(number=number, part=part) for number, part in enumerate(designs))
    (tmp_path / "cpuinfo").write_text(text + "Hardware\t: Odroid XU4\nSerial\t\t: 0000000000000000\n")
    source, program = tmp_path / "part.c", tmp_path / "part"
    source.write_text(PART)
    headers = Path(compile.c_library.__file__).parent
    flags = ("-D_GNU_SOURCE", "-Wall", "-Werror", f"-I{headers}", f'-DCPUINFO="{tmp_path}/cpuinfo"')
    compile_object(source, tmp_path / "part.o", flags, TARGET)
    compile_program([tmp_path / "part.o"], program, (), "cc", TARGET)
    found = [emulated(program, number, cpu="cortex-a7", arch=ARMV7).stdout for number in (0, 3, 4, 7, 8)]
    assert found == ["41c07", "41c07", "41c0f", "41c0f", "0"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--cpu", "a7", "--format", "bundle"), "--format c-library"),
        (("--cpu", "a7", "--format", "both"), "--format c-library"),
        (("--cpu", "a7", "--validate", "emulated"), "linux-armv7a"),
        (("--cpu", "a7,a53", "--format", "c-library"), "one architecture"),
    ],
)
def test_what_32_bits_cannot_have(
    armature: Armature, tmp_path: Path, options: tuple[str, ...], said: str
) -> None:
    result = armature("compile", *ODD_CHANNELS, *options, "-o", tmp_path / "out")
    assert result.exit_code == 2 and said in result.stderr
    assert not (tmp_path / "out").exists()


def test_no_emulated_board_has_32_bits(armature: Armature) -> None:
    result = armature("board", "profile", "--device", "emulated:cortex-a7", "--", "/bin/true")
    assert result.exit_code == 2 and "32 bits" in result.stderr and "qemu-arm" in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize(("core", "cpu"), [("cortex-a7", "cortex-a7"), ("cortex-a17", "cortex-a15")])
@pytest.mark.parametrize("model", [MOBILENET, TRAINED], ids=["small", "trained"])
def test_mobilenet(armature: Armature, tmp_path: Path, model: tuple[str, ...], core: str, cpu: str) -> None:
    folder = compiled(armature, tmp_path / "out", model, core, "c-library")
    check_numbers(folder, tmp_path, cpu, core)
    assert instructions(folder, core, tmp_path / "image.bin") < INSTRUCTIONS[model]
