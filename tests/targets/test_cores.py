"""The table of cores against LLVM, against QEMU's models, and against itself."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from targets.cores import (
    AARCH64,
    ARMV7,
    CORES,
    FEATURES,
    FEATURES_32,
    V8_0,
    V8_2,
    V8_4,
    V9,
    VFP3,
    VFP4,
    Core,
    core_rows,
    find_core,
    lineage,
)
from targets.errors import UserError

LLVM_FEATURES = {
    AARCH64: {"fullfp16": "fp16"} | {name: name for name in FEATURES if name != "fp16"},
    ARMV7: {"neon": "neon", "vfp4": "vfpv4", "hwdiv-arm": "idiva"},
}
TRIPLES = {AARCH64: "aarch64-linux-gnu", ARMV7: "armv7a-linux-gnueabihf"}
QEMUS = {AARCH64: "qemu-aarch64", ARMV7: "qemu-arm"}
# What LLVM may emit for neoverse-n1, cortex-x1 and cortex-a17 that is no instruction of user code, or only
# tunes.
NOT_INSTRUCTIONS = {
    "spe",
    "use-postra-scheduler",
    "neoversen1",
    "cortex-x1",
    "cmp-bcc-fusion",
    "a17",
    "avoid-partial-cpsr",
}
# From the ID registers in QEMU's target/arm/cpu64.c and target/arm/tcg/cpu64.c, and cpu32.c. All of 64 bits
# have crc, so `generic`, which has not, cannot be emulated more narrowly.
QEMU_FEATURES = {
    **dict.fromkeys(["cortex-a35", "cortex-a53", "cortex-a57", "cortex-a72"], V8_0),
    **dict.fromkeys(["cortex-a55", "cortex-a76", "cortex-a78ae", "neoverse-n1"], V8_2),
    "neoverse-v1": V8_4,
    **dict.fromkeys(["cortex-a710", "neoverse-n2"], V9),
    **dict.fromkeys(["cortex-a7", "cortex-a15"], VFP4),
    "cortex-a9": VFP3,
}

every_core = pytest.mark.parametrize("core", CORES, ids=lambda core: core.name)


def llvm_features(mcpu: str, arch: str) -> set[str]:
    from tvm.target import Target
    from tvm.target.codegen import llvm_get_cpu_features

    target = Target({"kind": "llvm", "mtriple": TRIPLES[arch], "mcpu": mcpu})
    return {str(name) for name in llvm_get_cpu_features(target)}


def llvm_isa(features: set[str]) -> str:
    if "armv7-a" in features:
        return "armv7-a"
    versions = [match for name in features if (match := re.fullmatch(r"v(\d)(?:\.(\d))?a", name))]
    major, minor = max(((int(m[1]), int(m[2] or 0)) for m in versions), default=(8, 0))
    return f"armv{major}.{minor}-a".replace(".0", "")


def test_every_64_bit_core_llvm_knows_is_in_the_table() -> None:
    from tvm.target.codegen import llvm_get_cpu_archlist

    known = {str(name) for name in llvm_get_cpu_archlist(find_core("generic").target())}
    ours = {name for name in known if re.match(r"cortex-[ax]|neoverse-[nv]", name)} | {"generic"}
    cores = [core for core in CORES if core.arch == AARCH64]
    assert [core.name for core in cores if core.llvm not in known] == []
    assert {core.name for core in cores} == ours


@every_core
def test_features_and_isa_are_llvms(core: Core) -> None:
    features = llvm_features(core.name, core.arch)
    known = LLVM_FEATURES[core.arch]
    assert core.features == {ours for theirs, ours in known.items() if theirs in features}
    assert core.isa == llvm_isa(features)


@every_core
def test_llvm_is_told_of_no_instruction_the_core_lacks(core: Core) -> None:
    assert llvm_features(core.llvm, core.arch) - NOT_INSTRUCTIONS <= llvm_features(core.name, core.arch)


@every_core
def test_target(core: Core) -> None:
    target = core.target()
    assert target.kind.name == "llvm"
    assert "arm_cpu" in target.keys
    assert str(target.attrs["mcpu"]) == core.llvm
    assert bool(target.attrs["feature.has_dotprod"]) == ("dotprod" in core.features)
    assert bool(target.attrs["feature.has_sve"]) == ("sve" in core.features)


@every_core
def test_numbers_are_those_of_a_core(core: Core) -> None:
    assert core.fma_per_cycle in ((1, 2, 4, 6) if core.arch == AARCH64 else (0.25, 0.5, 1))
    assert core.multiply_adds_per_cycle == 4 * core.fma_per_cycle
    assert core.vector_registers == (32 if core.arch == AARCH64 else 16)
    for kib, ways in [(core.l1d_kib, core.l1d_ways), (core.l2_kib, core.l2_ways)]:
        sets = kib * 1024 // (64 * ways)
        assert sets * 64 * ways == kib * 1024
        assert sets & (sets - 1) == 0


@every_core
def test_lineage_ends_and_uses_nothing_the_core_lacks(core: Core) -> None:
    cores = lineage(core)
    assert cores[0] is core
    assert cores[-1].like is None
    assert len(set(cores)) == len(cores)
    for relative in cores[1:]:
        assert relative.arch == core.arch
        assert relative.features - {"crc"} <= core.features


def test_the_ends_of_the_lineages_are_the_timing_models() -> None:
    assert {lineage(core)[-1].name for core in CORES if core.arch == AARCH64} == {
        "cortex-a53",
        "cortex-a55",
        "cortex-a72",
        "cortex-a76",
    }
    assert [core.name for core in lineage(find_core("a78"))] == ["cortex-a78", "cortex-a77", "cortex-a76"]


@every_core
def test_qemu_has_all_the_core_has_and_no_more(core: Core) -> None:
    *narrow, last = core.qemu
    assert "max" not in narrow
    assert last != "max" or "sve" in core.features
    for model in set(core.qemu) - {"max"}:
        assert QEMU_FEATURES[model] - {"crc"} == core.features - {"crc"}
    if core.name in QEMU_FEATURES:
        assert core.qemu[0] == core.name


@pytest.mark.emulator
def test_the_installed_qemu_has_a_model_for_every_core() -> None:
    for arch, name in QEMUS.items():
        qemu = shutil.which(name)
        if qemu is None:
            pytest.skip(f"{name} is not installed (Debian: qemu-user)")
        command = [qemu, "-cpu", "help"]  # exits with 1 even when it has listed them
        known = set(subprocess.run(command, capture_output=True, text=True, check=False).stdout.split())
        assert [core.name for core in CORES if core.arch == arch and not set(core.qemu) & known] == []


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cortex-a72", "cortex-a72"),
        ("a72", "cortex-a72"),
        ("Cortex-A72", "cortex-a72"),
        (" A78AE ", "cortex-a78ae"),
        ("a7", "cortex-a7"),
        ("x925", "cortex-x925"),
        ("neoverse-n1", "neoverse-n1"),
        ("N1", "neoverse-n1"),
        ("generic", "generic"),
    ],
)
def test_find_core(name: str, expected: str) -> None:
    assert find_core(name).name == expected


def test_short_names_are_unique() -> None:
    assert len({core.name.split("-")[-1] for core in CORES}) == len(CORES)


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("cortex-a74", "cortex-a7"),
        ("a74", "cortex-a7"),
        ("cortexa72", "cortex-a72"),
        ("neoverse", "neoverse-"),
    ],
)
def test_unknown_core_names_the_nearest(name: str, near: str) -> None:
    with pytest.raises(UserError, match=f"unknown core '{name}': did you mean .*{near}.*`armature cores`"):
        find_core(name)


def test_unknown_core_like_none() -> None:
    with pytest.raises(UserError, match="unknown core 'pentium': `armature cores` lists them all"):
        find_core("pentium")


def test_vectors() -> None:
    core = find_core("a72")
    assert core.vector_registers == 32
    lanes = {"float32": 4, "float16": 8, "bfloat16": 8, "int8": 16, "uint8": 16, "int32": 4, "float64": 2}
    assert {dtype: core.vector_lanes(dtype) for dtype in lanes} == lanes
    with pytest.raises(ValueError, match="handle"):
        core.vector_lanes("handle")


def test_rows_are_json_in_table_order() -> None:
    rows = core_rows()
    assert json.loads(json.dumps(rows)) == rows
    assert [row["name"] for row in rows] == [core.name for core in CORES]
    assert list(rows[0]) == [field.name for field in dataclasses.fields(Core)]
    assert find_core("a55").name == "cortex-a55"
    assert rows[7]["features"] == ["crc", "lse", "rdm", "fp16", "dotprod"]


def test_the_document_explains_every_column() -> None:
    text = (Path(__file__).parents[2] / "docs" / "cores.md").read_text()
    explained = re.findall(r"^\| `(\w+)` \|", text, flags=re.MULTILINE)
    assert explained == [field.name for field in dataclasses.fields(Core)]
    assert set(re.findall(r"^  - `(\w+)`", text, flags=re.MULTILINE)) == {*FEATURES, *FEATURES_32}
