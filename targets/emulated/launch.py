"""Runs an ARM program under qemu-user to its end, or ends it: no process of it is left."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from targets.cores import AARCH64, ARMV7, Core
from targets.emulated.board import choose_model, find_qemu, find_sysroot
from targets.errors import DeviceError, UserError

# The first bytes and e_machine: EM_AARCH64 of the ELF for the Arm 64-bit Architecture, section 5.1, and
# EM_ARM of the ELF for the Arm Architecture, section 5.2.
_ELF = {AARCH64: (b"\x7fELF\x02\x01", 183, "64-bit"), ARMV7: (b"\x7fELF\x01\x01", 40, "32-bit")}
_LAST_WORDS_BYTES = 4096


@dataclass(frozen=True)
class Launch:
    """How a program is started, beside its arguments."""

    sysroot: Path | None = None
    """The folder that stands for / where it holds a file (qemu's -L); None: the ARM C library's."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Variables added to its environment."""
    seconds: float = 600.0
    """The longest that one run may take."""
    inherits: bool = True
    """Whether it has this process's environment. That lies above the stack, as arguments do, so what it holds
    moves the stack, and with it what misses the caches: without, counts are the same whoever asks.
    """
    folder: Path | None = None
    """Where it runs; its path may be relative to it, and is as long wherever that lies. None: here."""


def run_program(core: Core, command: Sequence[str], launch: Launch, options: Sequence[str] = ()) -> None:
    """Run `command`, a program for the core's architecture, on an emulated one, with more `options` for QEMU.

    What it prints is dropped. Its process group is killed when it ends, fails, takes too long, or this
    program is interrupted. Raises UserError when the emulator is missing, the program is for something
    else or `launch` cannot be done, DeviceError when it crashes, reports failure or does not end in time.
    """
    _require_arm((launch.folder or Path()) / command[0], core)
    emulate = [*_emulator(core, launch), *options, *command]
    name = f"emulated:{core.name}"
    with tempfile.TemporaryFile() as errors:
        code = _run(emulate, errors, launch)
        said = _last_words(errors)
    if code is None:
        raise DeviceError(f"{command[0]} did not end on {name} within {launch.seconds:g} s")
    if "Could not load plugin" in said:
        raise UserError(f"{emulate[0]} does not take our plugin (QEMU 4.2 to 8.2 do): {said}")
    if code != 0:
        raise DeviceError(f"{command[0]} failed on {name} ({_how(code)}): {said}")


def _emulator(core: Core, launch: Launch) -> list[str]:
    if launch.sysroot is not None and not launch.sysroot.is_dir():
        raise UserError(f"the sysroot {launch.sysroot} is not a folder")
    qemu = find_qemu(core.arch)
    variables = []
    for name, value in launch.env.items():
        if "," in name + value:  # qemu-user parts the variables of one -E at commas
            raise UserError(f"qemu-user cannot set the variable {name}: {value!r} has a comma")
        variables += ["-E", f"{name}={value}"]
    return [
        qemu,
        *("-cpu", choose_model(core, qemu)),
        *("-L", str(launch.sysroot or find_sysroot(core.arch))),
        *variables,
    ]


def _run(command: Sequence[str], errors: IO[bytes], launch: Launch) -> int | None:
    """The exit code, negative for a signal; None when the time was up."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=errors,  # a file: a pipe would be waited for as long as some child of the program holds it
        env=None if launch.inherits else {},
        cwd=launch.folder,
        start_new_session=True,
    )
    try:
        return process.wait(launch.seconds)
    except subprocess.TimeoutExpired:
        return None
    finally:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _last_words(errors: IO[bytes]) -> str:
    """The last line on standard error."""
    size = errors.seek(0, os.SEEK_END)
    errors.seek(max(0, size - _LAST_WORDS_BYTES))
    lines = errors.read().decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"


def _how(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def _require_arm(program: Path, core: Core) -> None:
    magic, machine, bits = _ELF[core.arch]
    try:
        with program.open("rb") as file:
            head = file.read(20)
    except OSError as error:
        raise UserError(f"cannot read the program {program}: {error.strerror}") from error
    if not head.startswith(magic) or int.from_bytes(head[18:20], "little") != machine:
        raise UserError(
            f"{program} is not an {core.arch} program: "
            f"an emulated {core.name} runs ELF programs for {bits} ARM"
        )
