"""Counts the instructions of an ARM program on the emulated board: exact and repeatable, unlike time."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from targets.cache import cached, content_key
from targets.cores import Core
from targets.emulated.board import choose_model, find_qemu, find_sysroot
from targets.errors import DeviceError
from targets.toolchain import link_host_plugin, toolchain_versions

REPEAT = "{repeat}"
"""Stands in a command for the number of repeats."""

RUN_SECONDS = 600.0

_SOURCE = Path(__file__).with_name("instructions.c")


def instructions_per_repeat(core: Core, command: Sequence[str], few: int = 1, many: int = 3) -> float:
    """Instructions that one more repeat of an aarch64 program takes: loading is subtracted.

    `command` is the program and its arguments, with REPEAT where the number of repeats goes; it is run
    with `few` and with `many`. Raises UserError when the emulator is missing, DeviceError when the
    program fails.
    """
    counts = [
        _count(core, [part.replace(REPEAT, str(repeats)) for part in command]) for repeats in (few, many)
    ]
    return (counts[1] - counts[0]) / (many - few)


def _count(core: Core, command: Sequence[str]) -> int:
    qemu = find_qemu()
    emulate = [qemu, "-cpu", choose_model(core, qemu), "-L", str(find_sysroot())]
    with tempfile.TemporaryDirectory(prefix="armature-count-") as folder:
        output = Path(folder) / "count"
        plugin = ["-plugin", f"{_plugin()},output={output}"]
        try:
            done = subprocess.run(
                [*emulate, *plugin, *command],
                capture_output=True,
                text=True,
                timeout=RUN_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise DeviceError(f"{command[0]} did not end within {RUN_SECONDS:.0f} s") from error
        if done.returncode != 0 or not output.is_file():
            said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
            raise DeviceError(f"{command[0]} failed on emulated:{core.name} ({done.returncode}): {said}")
        return int(output.read_text())


def _plugin() -> Path:
    key = content_key([_SOURCE, toolchain_versions()])
    return cached("plugins", f"instructions-{key}.so", partial(link_host_plugin, _SOURCE))
