"""Counts what an ARM program does on the emulated board, block by block: exact and repeatable, unlike time.

The plugin beside this file (profile.c) records every block of instructions that is executed. A program is
run twice, with few and with many repeats, and the two are subtracted, so that loading does not count.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from targets.cache import cached, content_key
from targets.cores import Core
from targets.emulated.launch import Launch, run_program
from targets.errors import DeviceError, UserError
from targets.toolchain import link_host_plugin, toolchain_versions

REPEAT = "{repeat}"
"""Stands in a command for the number of repeats."""

_SOURCE = Path(__file__).with_name("profile.c")
_INSTRUCTION_BYTES = 4
_PLAIN = Launch(inherits=False)


@dataclass(frozen=True)
class Caches:
    """Sizes of a model of the data caches: 64-byte lines, least recently used goes first, write-allocate."""

    l1_kib: int
    l1_ways: int
    l2_kib: int
    l2_ways: int

    @classmethod
    def of(cls, core: Core) -> Caches:
        """The caches of the core's row."""
        return cls(core.l1d_kib, core.l1d_ways, core.l2_kib, core.l2_ways)


@dataclass(frozen=True)
class Block:
    """Instructions that are executed one after the other, and what one repeat does with them.

    The figures are differences of two runs: outside of what repeats, they may be a little off zero.
    """

    address: int
    """Where it lay in memory."""
    file: Path | None
    """The program or library it is of; None where it is of no file."""
    offset: int
    """Where it lies in that file, in bytes; 0 without a file."""
    code: bytes
    """Its instructions, of 4 bytes each; Thumb's of 2, in 32-bit code that is not ours, count as half."""
    executions: float
    l1_misses: tuple[float, ...]
    """Lines not found in the first level, one figure per cache model."""
    l2_misses: tuple[float, ...]
    """Lines not found in the second level either."""

    @property
    def instructions(self) -> float:
        """Instructions executed per repeat."""
        return self.executions * (len(self.code) // _INSTRUCTION_BYTES)


@dataclass(frozen=True)
class Profile:
    """What one repeat of a program does."""

    blocks: tuple[Block, ...]
    caches: tuple[Caches, ...]

    @property
    def instructions(self) -> float:
        """Instructions executed per repeat."""
        return sum(block.instructions for block in self.blocks)

    def misses(self, model: int = 0) -> tuple[float, float]:
        """Lines missed per repeat in the first level and in the second, in one of the cache models."""
        first = sum(block.l1_misses[model] for block in self.blocks)
        return first, sum(block.l2_misses[model] for block in self.blocks)


def profile(
    core: Core,
    command: Sequence[str],
    caches: Sequence[Caches] = (),
    few: int = 1,
    many: int = 2,
    launch: Launch = _PLAIN,
) -> Profile:
    """What one more repeat of a program executes on `core`, and misses in each of `caches`.

    `command` is the program and its arguments, with REPEAT where the number of repeats goes; it is run
    with `few` and with `many`. Raises UserError when the emulator is missing or the program is not of the
    core's architecture, DeviceError when it fails.
    """
    first, second = (
        _record(core, [part.replace(REPEAT, str(repeats)) for part in command], caches, launch)
        for repeats in (few, many)
    )
    return Profile(tuple(_subtract(second, first, many - few)), tuple(caches))


def profile_whole(
    core: Core, command: Sequence[str], caches: Sequence[Caches] = (), launch: Launch = _PLAIN
) -> Profile:
    """The same of a whole run, from an empty cache and with all loading: the program is run once."""
    return Profile(tuple(_subtract(_record(core, command, caches, launch), {}, 1)), tuple(caches))


def instructions_per_repeat(core: Core, command: Sequence[str], few: int = 1, many: int = 2) -> float:
    """Instructions that one more repeat of a program takes: `profile` without caches, fast."""
    return profile(core, command, (), few, many).instructions


_Key = tuple[Path | None, int, bytes]
"""What tells a block from others in any run: libraries may lie elsewhere in the next."""


@dataclass(frozen=True)
class _Record:
    address: int
    executions: int
    misses: tuple[int, ...]
    """First and second level in turn, cache model by cache model."""


def _subtract(many: dict[_Key, _Record], few: dict[_Key, _Record], repeats: int) -> Iterator[Block]:
    for key in many.keys() | few.keys():
        later, earlier = many.get(key), few.get(key)
        known = later or earlier
        assert known is not None
        nothing = _Record(known.address, 0, (0,) * len(known.misses))
        later, earlier = later or nothing, earlier or nothing
        executions = (later.executions - earlier.executions) / repeats
        misses = [(a - b) / repeats for a, b in zip(later.misses, earlier.misses, strict=True)]
        if executions or any(misses):
            file, offset, code = key
            place = 0 if file is None else offset
            yield Block(
                known.address, file, place, code, executions, tuple(misses[0::2]), tuple(misses[1::2])
            )


def _record(
    core: Core, command: Sequence[str], caches: Sequence[Caches], launch: Launch
) -> dict[_Key, _Record]:
    models = [f",cache={c.l1_kib}:{c.l1_ways}:{c.l2_kib}:{c.l2_ways}" for c in caches]
    with tempfile.TemporaryDirectory(prefix="armature-profile-") as folder:
        output = Path(folder) / "profile.txt"
        plugin = f"{_escape(_plugin())},output={_escape(output)}{''.join(models)}"
        run_program(core, command, launch, ["-plugin", plugin])
        return _read(output, command[0])


def _escape(path: Path) -> str:
    """A path in a list of options that commas part, as QEMU reads it."""
    return str(path).replace(",", ",,")


def _read(output: Path, program: str) -> dict[_Key, _Record]:
    lines = output.read_text(errors="surrogateescape").splitlines() if output.is_file() else []
    if not lines or lines[0] != "armature-profile 1" or lines[-1] != "end":
        raise DeviceError(f"{program} ended, but its profile is missing or cut short")
    files: dict[str, Path | None] = {"-": None}
    records: dict[_Key, _Record] = {}
    for line in lines[1:-1]:
        kind, _, rest = line.partition(" ")
        if kind == "file":
            number, _, path = rest.partition(" ")
            files[number] = Path(path)
            continue
        address, file, offset, executions, code, *misses = rest.split(" ")
        key = (files[file], int(address if file == "-" else offset, 16), bytes.fromhex(code))
        record = _Record(int(address, 16), int(executions), tuple(map(int, misses)))
        records[key] = _add(records[key], record) if key in records else record
    return records


def _add(one: _Record, other: _Record) -> _Record:
    misses = tuple(a + b for a, b in zip(one.misses, other.misses, strict=True))
    return _Record(other.address, one.executions + other.executions, misses)


def _plugin() -> Path:
    try:
        key = content_key([_SOURCE, toolchain_versions()])
    except FileNotFoundError as error:
        raise UserError(f"{_SOURCE} is missing: install Armature again") from error
    return cached("plugins", f"profile-{key}.so", partial(link_host_plugin, _SOURCE))
