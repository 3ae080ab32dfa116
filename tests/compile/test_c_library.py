"""Parts of the plain C library that need no emulator; what it computes is held in tests/e2e."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from compile.c_library.features import HWCAPS, hwcaps
from compile.c_library.names import c_name
from compile.c_library.sources import MAX_RANK, header
from targets.cores import ARMV7, FEATURES, FEATURES_32
from targets.errors import UserError
from targets.platforms import arm_platform
from targets.toolchain import compile_object

AGENT = Path(__file__).parents[2] / "targets" / "agent" / "src" / "info.c"


def test_the_bits_are_those_of_the_agent(tmp_path: Path) -> None:
    assert set(HWCAPS) == {*FEATURES, *FEATURES_32}
    text = AGENT.read_text()
    rows = re.findall(r'\{"(\w+)", ([\w| ]+), ([\w| ]+)\}', text)
    assert {name for name, _, _ in rows} == set(FEATURES)
    checks = [
        f'_Static_assert(({first}) == {HWCAPS[name][0]} && ({second}) == {HWCAPS[name][1]}, "{name}");'
        for name, first, second in rows
    ]
    newer = re.findall(r"#ifndef HWCAP2.*?#endif", text, re.DOTALL)
    source = tmp_path / "bits.c"
    source.write_text("\n".join(["#include <asm/hwcap.h>", *newer, *checks, ""]))
    compile_object(source, tmp_path / "bits.o", ("-std=c11",))
    assert hwcaps({"crc", "fp16", "sve2"}) == (1 << 7 | 1 << 9 | 1 << 10, 1 << 1)


def test_the_bits_of_32_bit_cpus_are_linuxs(tmp_path: Path) -> None:
    bits = {"HWCAP_NEON": "neon", "HWCAP_VFPv4": "vfpv4", "HWCAP_IDIVA": "idiva"}
    checks = [f'_Static_assert({each} == {HWCAPS[name][0]}, "{name}");' for each, name in bits.items()]
    source = tmp_path / "bits.c"
    source.write_text("\n".join(["#include <asm/hwcap.h>", *checks, ""]))
    compile_object(source, tmp_path / "bits.o", ("-std=c11",), arm_platform("linux", ARMV7).zig)
    assert sorted(bits.values()) == sorted(FEATURES_32)


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("mobilenet_v2", "mobilenet_v2"),
        ("my.net:small", "my_net_small"),
        ("3d-net", "model_3d_net"),
        ("é", "model_"),
    ],
)
def test_a_models_name_in_c(model: str, name: str) -> None:
    assert c_name(model) == name


def test_too_many_dimensions() -> None:
    tensor = {"name": "x", "dtype": "float32", "shape": [1] * (MAX_RANK + 1), "layout": None}
    description = {"inputs": [tensor], "outputs": [], "cores": []}
    with pytest.raises(UserError, match=f"{MAX_RANK} dimensions"):
        header("net", description, threads=1)
