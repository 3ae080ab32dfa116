"""The plain C library: its header under a strict C99 compiler, and its results beside the bundle's."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection
from torch import Tensor, nn
from tvm import te

from compile.c_library.kernels import compile_kernels
from compile.c_library.program import Call, Place, Program
from compile.c_library.sources import FUNCTIONS
from targets.cores import AARCH64, find_core
from targets.emulated.board import find_qemu, find_sysroot
from targets.toolchain import BOARD, compile_object, compile_program
from tests.e2e import test_memory, test_own_model
from tests.e2e.conftest import Armature

pytestmark = pytest.mark.emulator

USER = Path(__file__).with_name("c_library.c")
STRICT = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic")

MOBILENET = ("mobilenet_v2", "--arg", "width=0.35", "--input", "image=1x3x96x96", "--weights", "random:0")
ODD_CHANNELS = (f"{test_own_model.__name__}:small_net", "--input", "picture=1x3x33x47")
# Outputs that are intermediates and views of each other; the input given back; a concatenation made in place.
OUTPUTS = (f"{test_memory.__name__}:outputs", "--input", "picture=1x3x20x20")
ECHO = (f"{test_memory.__name__}:echo", "--input", "picture=1x3x12x12")
# Boxes and labels: a kernel with local variables, and outputs of two types.
DETECTOR = ("ssdlite_mobilenet_v2", "--weights", "random:0", "--input", "image=1x3x96x96")
# A kernel of TVM's own, with an exponential.
SOFTMAX = (f"{__name__}:softmax", "--input", "input=1x3x24x24")


def softmax() -> nn.Module:
    """A network that ends in a softmax over 1936 numbers."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Softmax(1))


def sort() -> nn.Module:
    """A network that needs TVM's runtime."""
    return Sort()


class Sort(nn.Module):
    """An operator that TVM's runtime computes."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.sort(x, -1)[0]


def compiled(armature: Armature, folder: Path, model: Sequence[str], cpu: str, artifact: str) -> Path:
    """The folder with what `model` becomes."""
    result = armature("compile", *model, "--cpu", cpu, "--format", artifact, "-o", folder)
    assert result.exit_code == 0, result.stderr
    return folder


def library_of(folder: Path) -> Path:
    """The C library in the folder."""
    (library,) = folder.glob("lib*.so")
    return library


def user_of(folder: Path, target: str = BOARD, source: Path = USER) -> Path:
    """A C program that uses the library in the folder, and lies beside it."""
    name, program = library_of(folder).stem.removeprefix("lib"), folder / source.stem
    which = (f'-DHEADER="{name}.h"', f"-DMODEL={name}", f"-DUPPER={name.upper()}")
    compile_object(source, program.with_suffix(".o"), (*STRICT, *which, f"-I{folder}"), target)
    dynamic = (f"-L{folder}", f"-l{name}", "-Wl,-rpath,$ORIGIN", "-Wl,--export-dynamic", "-lpthread")
    compile_program([program.with_suffix(".o")], program, dynamic, "cc", target)
    return program


def emulated(
    *command: object, cpu: str = "cortex-a53", arch: str = AARCH64
) -> subprocess.CompletedProcess[str]:
    """What an ARM program does on the emulated board."""
    emulator = [find_qemu(arch), "-cpu", cpu, "-L", str(find_sysroot(arch))]
    return subprocess.run(
        [*emulator, *map(str, command)], capture_output=True, text=True, check=False, timeout=300
    )


@pytest.fixture(scope="module")
def mobilenet(armature: Armature, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MobileNetV2 as a bundle and a C library in one folder."""
    return compiled(armature, tmp_path_factory.mktemp("c-library") / "out", MOBILENET, "cortex-a53", "both")


def check_same_numbers(folder: Path, scratch: Path) -> None:
    """Hold the C library's outputs against those of the bundle in the same folder, bit by bit."""
    (row,) = json.loads((folder / "manifest.json").read_text())["inputs"]
    image = scratch / "image.bin"
    np.random.default_rng(7).standard_normal(row["shape"], np.float32).tofile(image)
    bundled = emulated(folder / "run", "--input", image, "--output", scratch / "bundled.bin")
    assert bundled.returncode == 0, bundled.stderr
    ours = emulated(user_of(folder), scratch / "ours.bin", image)
    assert ours.returncode == 0, ours.stderr
    result = (scratch / "ours.bin").read_bytes()
    assert len(set(result)) > 16 and result == (scratch / "bundled.bin").read_bytes()


def test_mobilenet_gives_the_bundles_numbers(mobilenet: Path, tmp_path: Path) -> None:
    check_same_numbers(mobilenet, tmp_path)


NETWORKS = {"odd": ODD_CHANNELS, "outputs": OUTPUTS, "echo": ECHO, "softmax": SOFTMAX, "detector": DETECTOR}


@pytest.mark.parametrize("model", NETWORKS.values(), ids=NETWORKS)
def test_networks_give_the_bundles_numbers(
    armature: Armature, tmp_path: Path, model: tuple[str, ...]
) -> None:
    check_same_numbers(compiled(armature, tmp_path / "out", model, "cortex-a53", "both"), tmp_path)


def test_two_threads_on_one_handle(
    armature: Armature, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHARE_A_HANDLE", "1")
    check_same_numbers(compiled(armature, tmp_path / "out", ODD_CHANNELS, "cortex-a53", "both"), tmp_path)


def test_a_header_for_cpp(mobilenet: Path, tmp_path: Path) -> None:
    source = tmp_path / "user.cpp"
    source.write_text(
        '#include "mobilenet_v2.h"\nint main() { return mobilenet_v2_create(nullptr, nullptr); }\n'
    )
    compile_object(source, tmp_path / "user.o", ("-std=c++11", *STRICT[1:], f"-I{mobilenet}"))


ALONE = {
    *("getauxval", "posix_memalign", "free", "memcpy", "memset", "strcmp"),
    *("open", "read", "close", "snprintf", "strtol", "sched_setaffinity"),
}
"""What a library for one thread asks of the C library: the second row to find and choose the fastest CPUs."""

REVERSED = """
#include <stdio.h>
void reversed(float *in, float *out, float *scratch);
int main(void) {
  static float in[1000], out[1000], scratch[1000];
  int i;
  for (i = 0; i < 1000; i++) in[i] = (float)i;
  reversed(in, out, scratch);
  for (i = 0; i < 1000; i++)
    if (out[i] != 2 * in[999 - i] || scratch[i] != 2 * in[i]) return 1;
  return 0;
}
"""


def test_a_kernel_is_given_its_scratch(tmp_path: Path) -> None:
    given = te.placeholder((1000,), "float32")
    doubled = te.compute((1000,), lambda i: given[i] * 2.0)
    kernel = te.create_prim_func([given, te.compute((1000,), lambda i: doubled[999 - i])])
    scratch = compile_kernels({"reversed": kernel}, find_core("cortex-a53").target(), tmp_path / "kernel.o")
    assert scratch == {"reversed": (4000,)}
    (tmp_path / "user.c").write_text(REVERSED)
    compile_object(tmp_path / "user.c", tmp_path / "user.o", STRICT)
    compile_program([tmp_path / "user.o", tmp_path / "kernel.o"], tmp_path / "user", language="cc")
    done = emulated(tmp_path / "user")
    assert done.returncode == 0, done.stderr


def test_scratch_lies_behind_the_arena() -> None:
    kernel = Call("big", (Place("input"), Place("output")))
    small = Call("small", (Place("workspace", 0, 0), Place("output")))
    program = Program((kernel, small), (), {}, 100).with_scratch({"big": (70, 4), "small": ()})
    assert program.calls[0].arguments[2:] == (Place("workspace", 0, 128), Place("workspace", 0, 256))
    assert program.calls[1] == small and program.workspace_bytes == 320


def test_it_needs_the_c_library_alone_and_shows_the_header_alone(mobilenet: Path) -> None:
    library = library_of(mobilenet)
    with library.open("rb") as file:
        elf = ELFFile(file)
        dynamic, symbols = elf.get_section_by_name(".dynamic"), elf.get_section_by_name(".dynsym")
        assert isinstance(dynamic, DynamicSection) and isinstance(symbols, SymbolTableSection)
        needed = {tag.needed for tag in dynamic.iter_tags("DT_NEEDED")}
        named = [symbol for symbol in symbols.iter_symbols() if symbol.name]
        code = elf.get_section_by_name(".text").data_size
    assert needed <= {"libc.so.6", "libm.so.6", "libpthread.so.0"}
    exported = {symbol.name for symbol in named if symbol["st_shndx"] != "SHN_UNDEF"}
    assert exported == {f"mobilenet_v2_{function}" for function in FUNCTIONS}
    header = library.with_name("mobilenet_v2.h").read_text()
    assert all(f"{name}(" in header for name in exported)
    imported = {symbol.name for symbol in named if symbol["st_shndx"] == "SHN_UNDEF"}
    threads = {symbol for symbol in imported if symbol.startswith("pthread_")}
    assert threads and imported - threads <= {*ALONE, "getpid", "sigfillset"}
    assert code < 400_000


def test_cores_in_one_library(armature: Armature, tmp_path: Path) -> None:
    # A53 and A72 have the same features: what tells them apart is the CPU's name for itself.
    cores = ("cortex-a53", "cortex-a72", "cortex-a76")
    one = compiled(armature, tmp_path / "one", ODD_CHANNELS, ",".join(cores), "c-library")
    assert [core["name"] for core in json.loads((one / "manifest.json").read_text())["cores"]] == list(cores)
    image = tmp_path / "image.bin"
    np.random.default_rng(7).standard_normal((1, 3, 33, 47), np.float32).tofile(image)
    for core in cores:
        alone = compiled(armature, tmp_path / core, ODD_CHANNELS, core, "c-library")
        for folder in (one, alone):
            done = emulated(user_of(folder), folder / "result.bin", image, cpu=core)
            assert (done.returncode, done.stdout) == (0, f"{core}\n"), done.stderr
        assert (one / "result.bin").read_bytes() == (alone / "result.bin").read_bytes()
    refused = armature(
        *("compile", *ODD_CHANNELS, "--cpu", "a53,a76", "--format", "bundle", "-o", tmp_path / "bundle")
    )
    assert refused.exit_code == 2 and "--format c-library" in refused.stderr


def test_one_thread_needs_no_threads(armature: Armature, tmp_path: Path) -> None:
    one = ("--format", "c-library", "--threads", "1", "-o", tmp_path / "out")
    assert armature("compile", *ODD_CHANNELS, *one).exit_code == 0
    with library_of(tmp_path / "out").open("rb") as file:
        symbols = ELFFile(file).get_section_by_name(".dynsym")
        assert isinstance(symbols, SymbolTableSection)
        imported = {each.name for each in symbols.iter_symbols() if each["st_shndx"] == "SHN_UNDEF"}
    assert imported <= {"", *ALONE}
    bundle = ("--format", "bundle", "--threads", "2", "-o", tmp_path / "out")
    refused = armature("compile", *ODD_CHANNELS, *bundle)
    assert refused.exit_code == 2 and "--format c-library" in refused.stderr


def test_another_cpu_is_an_error_code(armature: Armature, tmp_path: Path) -> None:
    folder = compiled(armature, tmp_path / "out", ODD_CHANNELS, "cortex-a76", "c-library")
    refused = emulated(user_of(folder), tmp_path / "ours.bin", tmp_path / "none.bin", cpu="cortex-a53")
    assert refused.returncode == 3 and "cortex-a76" in refused.stderr


def test_a_c_library_is_what_is_compiled(armature: Armature, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    assert armature("compile", *ODD_CHANNELS, "--cpu", "cortex-a53", "-o", folder).exit_code == 0
    names = {file.name for file in folder.iterdir()}
    assert names == {"libsmall_net.so", "libsmall_net.a", "small_net.h", "run", "manifest.json"}
    first = library_of(folder).read_bytes()
    compiled(armature, folder, ODD_CHANNELS, "cortex-a53", "c-library")  # in its own place again
    assert library_of(folder).read_bytes() == first


def test_an_operator_of_tvms_runtime_is_named(armature: Armature, tmp_path: Path) -> None:
    model = (f"{__name__}:sort", "--input", "x=1x17", "-o", tmp_path / "out")
    for asked in (("--format", "c-library"), ("--threads", "2"), ("--cpu", "a53,a76")):
        result = armature("compile", *model, *asked)
        assert result.exit_code == 2 and "sort" in result.stderr and "--format bundle" in result.stderr
        assert list(tmp_path.iterdir()) == []


def test_where_nothing_is_asked_such_an_operator_makes_a_bundle(armature: Armature, tmp_path: Path) -> None:
    model = (f"{__name__}:sort", "--input", "x=1x17", "-o", tmp_path / "out")
    result = armature("compile", *model, "--validate", "emulated", "--json")
    assert result.exit_code == 0 and "as a bundle" in result.stderr and "sort" in result.stderr
    assert json.loads(result.stdout)["validation"]["passed"]
    assert {"model.so", "run", "interface.txt"} <= {file.name for file in (tmp_path / "out").iterdir()}
