"""The table of platforms, and which core this machine or another is."""

from __future__ import annotations

import platform

import pytest

from targets.cores import AARCH64, X86_64
from targets.errors import UserError
from targets.host import V2, V3, V4, X86_LEVELS, core_of, host_core
from targets.platforms import LINUX_ARM, PLATFORMS, host_platform


def test_this_machine_is_one() -> None:
    row = host_platform()
    assert row.name == f"linux-{platform.machine()}"
    assert host_core().arch == row.arch
    assert str(row.target(host_core()).attrs["mtriple"]) == row.llvm


def test_names_are_unique_and_the_board_comes_first() -> None:
    assert len({row.name for row in PLATFORMS}) == len(PLATFORMS)
    assert LINUX_ARM.zig == "aarch64-linux-gnu.2.28"


def test_a_machine_that_is_in_no_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    with pytest.raises(UserError, match="linux-riscv64"):
        host_platform()


@pytest.mark.parametrize(("flags", "name"), [(V2, "x86-64-v2"), (V3, "x86-64-v3"), (V4, "x86-64-v4")])
def test_an_x86_is_the_highest_level_it_has(flags: frozenset[str], name: str) -> None:
    cpuinfo = f"processor : 0\nflags\t\t: fpu {' '.join(sorted(flags))} hypervisor\nbugs : none\n"
    assert core_of(cpuinfo, X86_64).name == name


def test_an_x86_of_long_ago() -> None:
    with pytest.raises(UserError, match="x86-64-v2"):
        core_of("flags : fpu sse sse2\n", X86_64)


@pytest.mark.parametrize("core", X86_LEVELS, ids=str)
def test_llvm_has_the_features_of_a_level(core: object) -> None:
    from tvm.target.codegen import llvm_get_cpu_features

    ours = {"pni": "sse3", "abm": "lzcnt", "bmi1": "bmi", "lahf_lm": "sahf"}
    named = {ours.get(name, name).replace("sse4_", "sse4.") for name in core.features}  # type: ignore[attr-defined]
    assert named <= {str(each) for each in llvm_get_cpu_features(core.target())}  # type: ignore[attr-defined]


ARM = "processor : 0\nCPU implementer : 0x41\nCPU architecture: 8\nCPU variant : 0x3\nCPU part : {}\n"


@pytest.mark.parametrize(("part", "name"), [("0xd0c", "neoverse-n1"), ("0xfff", "generic")])
def test_an_arm_is_known_by_its_number(part: str, name: str) -> None:
    assert core_of(ARM.format(part), AARCH64).name == name
