"""What the threads of a C library's run do is independent: in the least likely order it is the same."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from compile.c_library.build import write_parts
from compile.frontend import trace
from compile.lower import lower
from compile.manifest import describe
from compile.source import FRAMES, THREADS, Source
from targets.cores import find_core
from targets.platforms import LINUX_ARM
from targets.toolchain import compile_object, compile_program
from tests.e2e.test_c_library import emulated

pytestmark = pytest.mark.emulator

BACKWARDS = Path(__file__).with_name("backwards")
USER = Path(__file__).with_name("c_library_threads.c")
# By strips and by groups of channels, in one strip and in several; grouped convolutions; resized class maps.
NETWORKS = {
    "mobilenet_v2": Source("mobilenet_v2", {"width": "0.5"}, "random:0", {"image": (1, 3, 96, 96)}),
    "frames": Source("mobilenet_v2", {"width": "0.5"}, "random:0", {"image": (1, 3, 96, 96)}, FRAMES),
    "shufflenet": Source("shufflenet", {}, "random:0", {"image": (1, 3, 64, 64)}),
    "deeplabv3_mobilenet_v2": Source("deeplabv3_mobilenet_v2", {}, "random:0", {"image": (1, 3, 65, 65)}),
}

CORES = ("cortex-a53", "cortex-a76", "cortex-a76", "cortex-a53")


@pytest.mark.parametrize(("network", "core"), list(zip(NETWORKS.values(), CORES, strict=True)), ids=NETWORKS)
def test_shares_in_the_least_likely_order(network: Source, core: str, tmp_path: Path) -> None:
    traced, chosen = trace(network), find_core(core)
    lowered = lower(traced.relax(), chosen)
    description = describe(network, traced, lowered, chosen, LINUX_ARM)
    parts = write_parts([(chosen, lowered)], LINUX_ARM, description, tmp_path, THREADS)
    shutil.copy(BACKWARDS / "pool.h", tmp_path)
    name = traced.name
    which = (f'-DHEADER="{name}.h"', f"-DMODEL={name}", f"-DUPPER={name.upper()}", "-O2", f"-I{tmp_path}")
    compile_object(USER, tmp_path / "user.o", which)
    compile_object(parts.caller, tmp_path / "caller.o", ("-O2",))
    objects = [tmp_path / "user.o", tmp_path / "caller.o", *parts.objects]
    compile_program(objects, tmp_path / "user", ["-lm"], "cc")
    assert emulated(tmp_path / "user", cpu=chosen.qemu[0]).returncode == 0
