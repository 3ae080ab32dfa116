"""A folder with a C library alone: its own program, and the devices that run it, as they run a bundle."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile
from numpy.typing import NDArray

from compile.bundle import open_bundle
from targets.cores import find_core
from targets.device import open_device
from targets.emulated.board import EmulatedBoard
from targets.errors import DeviceError
from targets.platforms import LINUX_ARM
from targets.runner.build import SOURCES, build_runner
from targets.toolchain import compile_object
from tests.e2e.conftest import Armature, document
from tests.e2e.test_c_library import ODD_CHANNELS, compiled, emulated, library_of

pytestmark = pytest.mark.emulator

PICTURE = np.random.default_rng(7).standard_normal((1, 3, 33, 47), np.float32)


@pytest.fixture(scope="module")
def folder(armature: Armature, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network, and its input beside the folder."""
    place = tmp_path_factory.mktemp("alone")
    PICTURE.tofile(place / "x.bin")
    return compiled(armature, place / "small", ODD_CHANNELS, "cortex-a53", "c-library")


@pytest.fixture(scope="module")
def board() -> Iterator[str]:
    """The address of an agent, which does not say that it is emulated."""
    with EmulatedBoard(find_core("cortex-a53")) as board:
        yield f"rpc://127.0.0.1:{board.port}"


@pytest.fixture(scope="module")
def expected(folder: Path, board: str) -> NDArray[Any]:
    """What the agent gives for the input."""
    with open_bundle(folder).loaded_on(board) as (_, program):
        (output,) = program.run(PICTURE)
    return output


# -- run


def test_the_folders_program_gives_the_same(folder: Path, expected: NDArray[Any], tmp_path: Path) -> None:
    given = ("--input", folder.parent / "x.bin", "--output", tmp_path / "y.bin")
    for threads in ((), ("--threads", 3)):
        done = emulated(folder / "run", *given, *threads)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert (tmp_path / "y.bin").read_bytes() == expected.tobytes()


def test_it_tells_the_time_of_each_inference(folder: Path) -> None:
    done = emulated(folder / "run", "--input", folder.parent / "x.bin", "--repeat", 3, "--json")
    milliseconds = json.loads(done.stdout)["milliseconds"]
    assert len(milliseconds) == 3 and min(milliseconds) > 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "1 input, --input was given 0 times"),
        (("--input", "{folder}/manifest.json"), "wants 18612 bytes (float32 1x3x33x47)"),
        (("--input", "{folder}/none.bin"), "none.bin: No such file"),
        (("--input", "x", "--threads", "0"), "--threads wants a number"),
        (("--input", "x", "--repeat", "few"), "--repeat wants a number"),
        (("serve",), "unexpected argument 'serve'"),
    ],
)
def test_it_refuses_what_it_cannot_use(folder: Path, options: tuple[str, ...], said: str) -> None:
    done = emulated(folder / "run", *(option.format(folder=folder) for option in options))
    assert done.returncode == 2 and done.stderr.startswith("run: ") and said in done.stderr


def test_it_wants_one_library_for_its_cpu(armature: Armature, folder: Path, tmp_path: Path) -> None:
    place = tmp_path / "a [new] folder*"
    place.mkdir()
    shutil.copy(folder / "run", place)
    assert "has 0 libraries" in emulated(place / "run", "--input", "x").stderr
    shutil.copy(library_of(folder), place / "libother.so")
    done = emulated(place / "run", "--input", "x")
    assert done.returncode == 1 and "no function other_input" in done.stderr
    shutil.copy(library_of(folder), place)
    assert "has 2 libraries" in emulated(place / "run", "--input", "x").stderr
    newer = compiled(armature, tmp_path / "a76", ODD_CHANNELS, "cortex-a76", "c-library")
    done = emulated(newer / "run", "--input", folder.parent / "x.bin")
    assert done.returncode == 1 and "cortex-a76" in done.stderr
    refused = armature("validate", newer, "--device", "emulated:cortex-a53")
    assert refused.exit_code == 2 and "dotprod" in refused.stderr


def test_it_needs_libc_alone() -> None:
    with build_runner(LINUX_ARM).open("rb") as file:
        dynamic = ELFFile(file).get_section_by_name(".dynamic")
        assert isinstance(dynamic, DynamicSection)
        assert {tag.needed for tag in dynamic.iter_tags("DT_NEEDED")} <= {"libc.so.6", "libdl.so.2"}


MIRROR = """
#include <stddef.h>
#include "c_library.h"
#include "small_net.h"
#define SAME(ours, theirs, field)                                                            \\
  _Static_assert(offsetof(ours, field) == offsetof(theirs, field) &&                         \\
                     sizeof(((ours *)0)->field) == sizeof(((theirs *)0)->field) &&           \\
                     sizeof(ours) == sizeof(theirs), #field)
SAME(LibraryTensor, small_net_tensor, name);
SAME(LibraryTensor, small_net_tensor, dtype);
SAME(LibraryTensor, small_net_tensor, layout);
SAME(LibraryTensor, small_net_tensor, rank);
SAME(LibraryTensor, small_net_tensor, shape);
SAME(LibraryTensor, small_net_tensor, size);
SAME(LibraryTensor, small_net_tensor, alignment);
SAME(LibraryTensor, small_net_tensor, scale);
SAME(LibraryTensor, small_net_tensor, zero_point);
SAME(LibraryOptions, small_net_options, workspace);
SAME(LibraryOptions, small_net_options, workspace_size);
SAME(LibraryOptions, small_net_options, threads);
SAME(LibraryOptions, small_net_options, pin);
SAME(LibraryOptions, small_net_options, core);
SAME(LibrarySource, small_net_source, data);
SAME(LibrarySource, small_net_source, size);
SAME(LibraryTarget, small_net_target, data);
SAME(LibraryTarget, small_net_target, size);
"""


def test_it_knows_the_headers_types(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "mirror.c").write_text(MIRROR)
    ours = next(source.parent for source in SOURCES if source.name == "c_library.c")
    compile_object(tmp_path / "mirror.c", tmp_path / "mirror.o", ("-std=c11", f"-I{ours}", f"-I{folder}"))


# -- devices


def test_pytorch_agrees(armature: Armature, folder: Path) -> None:
    report = document(armature("validate", folder, "--json"))
    assert report["passed"] and report["images"] == 20 and report["core"] == "cortex-a53"


def test_a_library_is_validated_as_it_is_compiled(armature: Armature, tmp_path: Path) -> None:
    options = ("--format", "c-library", "--validate", "emulated", "--json", "-o", tmp_path / "out")
    found = document(armature("compile", *ODD_CHANNELS, *options))
    assert found["validation"]["passed"]


def test_two_libraries_in_a_session(folder: Path, board: str, expected: NDArray[Any]) -> None:
    bundle = open_bundle(folder)
    with bundle.loaded_on(board) as (device, first):
        second = device.load_c_library(bundle.library)
        first.run(PICTURE * 2)
        assert np.array_equal(second.run(PICTURE)[0], expected)
        second.take(PICTURE)
        times = second.time(3)
        assert len(times) == 3 and min(times) > 0
        assert sum(sample.times for sample in device.state().ran) == 3


def test_wrong_inputs_are_an_error_and_the_session_goes_on(
    folder: Path, board: str, expected: NDArray[Any]
) -> None:
    with open_bundle(folder).loaded_on(board) as (_, program):
        for wrong in ((), (PICTURE, PICTURE), (PICTURE[:, :2],), (PICTURE.astype(np.float64),)):
            with pytest.raises(DeviceError, match="while running the network"):
                program.run(*wrong)
        assert np.array_equal(program.run(PICTURE)[0], expected)


def test_what_is_no_c_library_is_an_error(folder: Path, board: str, tmp_path: Path) -> None:
    broken = tmp_path / "libbroken.so"
    broken.write_bytes(b"\x7fELF, but no more")
    renamed = shutil.copy(library_of(folder), tmp_path / "librenamed.so")
    with open_device(board) as device:
        for library, said in ((broken, "does not load"), (renamed, "no function renamed_input")):
            with pytest.raises(DeviceError, match=rf"loading {library.name}.*{said}"):
                device.load_c_library(library)


def test_a_client_names_libraries_of_its_session_alone(board: str) -> None:
    with open_device(board) as device:
        session = device.link.session
        for arguments in (("../x.so", "x"), ("/lib/x.so", "x"), ("x.so",), (1, "x")):
            with pytest.raises(RuntimeError, match=r"plain name|a file and a name"):
                session.get_function("armature.c_library.load")(*arguments)
        for function in ("interface", "run", "time"):
            for number in ((), (0,), (-1,), ("x",)):
                with pytest.raises(RuntimeError, match="no such C library"):
                    session.get_function(f"armature.c_library.{function}")(*number)


def test_each_core_of_a_library_is_validated(armature: Armature, tmp_path: Path) -> None:
    both = compiled(armature, tmp_path / "both", ODD_CHANNELS, "cortex-a76,cortex-a53", "c-library")
    for core in ("cortex-a53", "cortex-a76"):
        assert armature("validate", both, "--device", f"emulated:{core}").exit_code == 0
        counted = document(armature("bench", both, "--device", f"emulated:{core}", "--json"))
        assert all(row["instructions"] > 0 for row in counted["kernels"])
    assert armature("validate", both, "--device", "emulated:generic").exit_code == 2


def test_another_systems_library_is_refused(armature: Armature, tmp_path: Path) -> None:
    options = ("--platform", "musl", "-o", tmp_path / "out")
    refused = armature("compile", *ODD_CHANNELS, *options, "--validate", "emulated")
    assert refused.exit_code == 2 and "musl-aarch64" in refused.stderr
    assert not (tmp_path / "out").exists()
    assert armature("compile", *ODD_CHANNELS, *options).exit_code == 0
    assert not (tmp_path / "out" / "run").exists()
    for verb in ("validate", "bench"):
        refused = armature(verb, tmp_path / "out")
        assert refused.exit_code == 2 and "musl-aarch64" in refused.stderr
