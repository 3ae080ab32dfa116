"""The C interface under arguments at random, with AddressSanitizer, UndefinedBehaviorSanitizer and
ThreadSanitizer, on this machine: every answer is the error code that the header promises."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from compile.c_library.build import Parts, write_parts
from compile.frontend import trace
from compile.lower import lower
from compile.manifest import describe
from compile.source import THREADS, Source
from targets.host import host_core
from targets.platforms import host_platform
from tests.e2e import test_memory, test_own_model

USER = Path(__file__).with_name("c_library_fuzz.c")
STRICT = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-O1", "-g")
CALLER = ("-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O1", "-g")
MODELS = {
    "small_net": Source(f"{test_own_model.__name__}:small_net", inputs={"picture": (1, 3, 33, 47)}),
    "outputs": Source(f"{test_memory.__name__}:outputs", inputs={"picture": (1, 3, 20, 20)}),
}
MEMORY, RACES = "-fsanitize=address,undefined", "-fsanitize=thread"


@dataclass(frozen=True)
class Made:
    """What a library is made of, and its name."""

    parts: Parts
    name: str

    def program(self, sanitizers: str) -> Path:
        """The fuzzer with the library in it, all C of both under `sanitizers`."""
        folder = self.parts.caller.parent
        flags = (sanitizers, "-fno-sanitize-recover=all", "-fno-omit-frame-pointer", f"-I{folder}")
        which = (f'-DHEADER="{self.name}.h"', f"-DMODEL={self.name}", f"-DUPPER={self.name.upper()}")
        program = folder / f"fuzz{sanitizers}"
        _gcc(*CALLER, *flags, "-c", self.parts.caller, "-o", folder / "caller.o")
        _gcc(*STRICT, *which, *flags, "-c", USER, "-o", folder / "user.o")
        objects = (folder / "user.o", folder / "caller.o", *self.parts.objects)
        _gcc(*flags, *objects, "-o", program, "-lm", "-lpthread")
        return program


def _gcc(*arguments: object) -> None:
    done = subprocess.run(["gcc", *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module", params=MODELS)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A small network for this machine."""
    source, core, platform = MODELS[request.param], host_core(), host_platform()
    traced = trace(source)
    lowered = lower(traced.relax(), core)
    description = describe(source, traced, lowered, core, platform)
    folder = tmp_path_factory.mktemp("parts")
    return Made(write_parts([(core, lowered)], platform, description, folder, THREADS), traced.name)


def run(*command: object) -> str:
    """What the fuzzer says of a run that went well."""
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_every_call_gives_the_code_it_promises(made: Made) -> None:
    program = made.program(MEMORY)
    for seed in range(3):
        counts = [int(line.split()[0]) for line in run(program, seed, 6000).splitlines()]
        ok, null, size, alignment, memory, cpu, busy, handle = counts
        assert min(ok, null, size, alignment, handle) > 50
        assert (memory, cpu, busy) == (0, 0, 0)  # this machine has both, and nobody shares a handle


@pytest.mark.parametrize("sanitizers", [MEMORY, RACES])
def test_threads_share_a_handle_and_end_it(made: Made, sanitizers: str) -> None:
    run(made.program(sanitizers), 1, 20, "threads")
