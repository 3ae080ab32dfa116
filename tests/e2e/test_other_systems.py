"""The static library, and C libraries for musl and for Android, as far as they can be held without those."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from elftools.elf.elffile import ELFFile

from compile.c_library.sources import FUNCTIONS
from targets.cores import AARCH64, ARMV7
from targets.platforms import PLATFORMS, Platform
from targets.toolchain import compile_object, compile_program
from tests.e2e.conftest import Armature
from tests.e2e.test_c_library import ODD_CHANNELS, emulated

pytestmark = pytest.mark.emulator

USER = Path(__file__).with_name("c_library_threads.c")
PAGE = 16384
CPUS = {AARCH64: "cortex-a53", ARMV7: "cortex-a7"}
# Zig compiles musl for each of these first, which takes minutes.
SLOW = {"musl-armv7a", "android-armv7a"}
ROWS = [
    pytest.param(row, marks=pytest.mark.slow if row.name in SLOW else ())
    for row in PLATFORMS
    if row.arch in CPUS
]


@pytest.fixture(scope="module", params=ROWS, ids=str)
def row(request: pytest.FixtureRequest) -> Platform:
    """Each that `--platform` and `--cpu` take."""
    found: Platform = request.param
    return found


@pytest.fixture(scope="module")
def system(row: Platform) -> str:
    """As `--platform` calls it."""
    return row.name.split("-")[0]


@pytest.fixture(scope="module")
def folder(row: Platform, system: str, armature: Armature, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network for that system."""
    folder = tmp_path_factory.mktemp(row.name) / "out"
    made = ("--cpu", CPUS[row.arch], "--format", "c-library", "--platform", system, "-o", folder)
    result = armature("compile", *ODD_CHANNELS, *made)
    assert result.exit_code == 0, result.stderr
    return folder


def elf_of(file: Path) -> ELFFile:
    return ELFFile(file.open("rb"))


def named(elf: ELFFile, table: str) -> dict[str, Any]:
    """The symbols of a table that others see, by name."""
    symbols = elf.get_section_by_name(table).iter_symbols()
    return {each.name: each for each in symbols if each["st_info"]["bind"] != "STB_LOCAL"}


def test_a_program_takes_the_static_library(row: Platform, folder: Path, tmp_path: Path) -> None:
    # Android's is linked with musl, as Zig has no bionic: its code runs so, its dynamic linking does not.
    target = row.zig
    which = ('-DHEADER="small_net.h"', "-DMODEL=small_net", "-DUPPER=SMALL_NET", f"-I{folder}")
    compile_object(USER, tmp_path / "user.o", which, target)
    linking = ("-static", "-lm", "-lpthread") if "musl" in target else ("-lm", "-lpthread")
    objects = [tmp_path / "user.o", folder / "libsmall_net.a"]
    compile_program(objects, tmp_path / "user", linking, "cc", target)
    assert emulated(tmp_path / "user", cpu=CPUS[row.arch], arch=row.arch).returncode == 0


def test_the_static_library_shows_the_header_alone(folder: Path, tmp_path: Path) -> None:
    archive = [sys.executable, "-m", "ziglang", "ar", "x", folder / "libsmall_net.a"]
    subprocess.run(archive, cwd=tmp_path, check=True)
    (member,) = tmp_path.iterdir()
    symbols = named(elf_of(member), ".symtab")
    shown = {name for name, each in symbols.items() if each["st_shndx"] != "SHN_UNDEF"}
    assert shown == {f"small_net_{function}" for function in FUNCTIONS}


def test_the_shared_library_suits_its_system(row: Platform, system: str, folder: Path) -> None:
    elf = elf_of(folder / "libsmall_net.so")
    dynamic = elf.get_section_by_name(".dynamic")
    needed = {tag.needed for tag in dynamic.iter_tags("DT_NEEDED")}
    tags = {tag.entry.d_tag for tag in dynamic.iter_tags()}
    linux = {"libc.so.6", "libm.so.6", "libpthread.so.0"}
    assert needed <= {"linux": linux, "musl": {"libc.so"}, "android": {"libc.so", "libm.so"}}[system]
    assert "DT_TEXTREL" not in tags and {"DT_HASH", "DT_GNU_HASH"} <= tags
    assert ("DT_VERNEED" in tags) == (system == "linux")
    assert {name for name, each in named(elf, ".dynsym").items() if each["st_shndx"] != "SHN_UNDEF"} == {
        f"small_net_{function}" for function in FUNCTIONS
    }
    segments = list(elf.iter_segments())
    page = PAGE if row.arch == AARCH64 or system == "android" else 4096
    assert all(each["p_align"] % page == 0 for each in segments if each["p_type"] == "PT_LOAD")
    # Nothing is written to once it is loaded: it does not matter how far a page of relocations reaches.
    (relocated,) = (each for each in segments if each["p_type"] == "PT_GNU_RELRO")
    writable = [each for each in segments if each["p_type"] == "PT_LOAD" and each["p_flags"] & 2]
    assert all(each["p_memsz"] <= relocated["p_memsz"] + 1024 * 4 for each in writable)


def test_androids_register_is_left_alone(row: Platform, folder: Path) -> None:
    if row.name != "android-aarch64":
        pytest.skip("x18 is Android's")
    disassembler = ["llvm-objdump", "-d", "--no-show-raw-insn", folder / "libsmall_net.so"]
    listing = subprocess.run(disassembler, capture_output=True, text=True, check=True).stdout
    words = set(listing.replace(",", " ").replace("[", " ").replace("]", " ").split())
    assert "x19" in words and not {"x18", "w18"} & words


def test_a_bundle_is_for_linux(armature: Armature, tmp_path: Path) -> None:
    bundle = ("--format", "bundle", "--platform", "musl", "-o", tmp_path / "out")
    result = armature("compile", *ODD_CHANNELS, *bundle)
    assert result.exit_code == 2 and "leave --format bundle out" in result.stderr
