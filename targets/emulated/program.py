"""What any aarch64 program costs an emulated board: by file, by function, and in all."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from targets.emulated.estimate import Estimate, estimates, facts, latency
from targets.emulated.launch import Launch
from targets.emulated.pricing import timing_model
from targets.emulated.profile import REPEAT, Block, Caches, Profile, profile, profile_whole
from targets.emulated.spec import Emulated
from targets.errors import UserError
from targets.symbols import Functions

NO_FILE = "no file"


@dataclass(frozen=True)
class Part:
    """Counts and estimated cycles, per repeat, of a file, of a function or block in it, or of everything."""

    name: str
    """A function, or a block as +OFFSET in bytes where no symbol says what it belongs to; else a file."""
    file: str
    """Its path; empty where there is none."""
    instructions: float
    l1_misses: float
    l2_misses: float
    core_cycles: float
    memory_cycles: float

    @property
    def cycles(self) -> float:
        """Estimated, in all."""
        return self.core_cycles + self.memory_cycles


@dataclass(frozen=True)
class ProgramReport:
    """What `command` costs `device`."""

    command: tuple[str, ...]
    device: Emulated
    repeats: tuple[int, int] | None
    """The two numbers of repeats that were subtracted; None: one run, counted whole."""
    total: Part
    files: tuple[Part, ...]
    """Most cycles first, as are `hot`."""
    hot: tuple[Part, ...]
    """Functions, and blocks of no known function: together they are everything."""

    @property
    def timing(self) -> str:
        """The core whose timing model priced the cycles."""
        return timing_model(self.device.core)

    @property
    def caches(self) -> Caches:
        """The caches that were modelled: the core's."""
        return Caches.of(self.device.core)

    @property
    def ms(self) -> float | None:
        """Estimated, at the board's clock, and bounded by its memory; None without a clock."""
        return latency(self.device, self.total.cycles, self.total.l2_misses)

    def share(self, part: Part) -> float:
        """The part of the estimated cycles that `part` has."""
        return part.cycles / self.total.cycles if self.total.cycles else 0.0

    def to_json(self, top: int) -> dict[str, Any]:
        """The report with the `top` hottest functions or blocks, JSON-ready."""
        return {
            **facts(self.device),
            "command": list(self.command),
            "repeats": list(self.repeats) if self.repeats else None,
            "basis": "per repeat" if self.repeats else "one whole run, loading included",
            "estimated_ms": self.ms,
            "total": self._part(self.total),
            "files": [self._part(part) for part in self.files],
            "hot": [self._part(part) for part in self.hot[:top]],
        }

    def _part(self, part: Part) -> dict[str, Any]:
        return {**asdict(part), "cycles": part.cycles, "share": self.share(part)}


def profile_program(
    command: Sequence[str], device: Emulated, few: int = 1, many: int = 2, launch: Launch | None = None
) -> ProgramReport:
    """Count and price an aarch64 program: its path and arguments.

    With REPEAT in an argument, one repeat: it is run with `few` and with `many`, and the two are subtracted.
    Else one run, whole. Raises UserError when it is no such program, the numbers cannot be subtracted or make
    no difference, or a tool is missing; DeviceError when the program crashes, fails or does not end.
    """
    core, launch = device.core, launch or Launch()
    caches = [Caches.of(core)]
    repeated = any(REPEAT in part for part in command[1:])
    if not 0 <= few < many:
        raise UserError(f"--few {few} --many {many}: the second must be more than the first")
    if repeated:
        blocks = profile(core, command, caches, few, many, launch).blocks
    else:
        blocks = profile_whole(core, command, caches, launch).blocks
    if sum(block.instructions for block in blocks) <= 0:
        raise UserError(
            f"{command[0]} executed no more instructions with {many} repeats than with {few}: "
            f"is {REPEAT} the argument that says how often?"
        )
    files, places = _group(blocks, _file), _group(blocks, _Places())
    groups = [(("total", ""), blocks), *files.items(), *places.items()]
    costs = estimates([group for _, group in groups], core)
    total, *parts = (_part(*key, group, cost) for (key, group), cost in zip(groups, costs, strict=True))
    return ProgramReport(
        command=tuple(command),
        device=device,
        repeats=(few, many) if repeated else None,
        total=total,
        files=_hottest_first(parts[: len(files)]),
        hot=_hottest_first(parts[len(files) :]),
    )


_Key = tuple[str, str]
"""A part's name and its file."""


def _file(block: Block) -> _Key:
    return (block.file.name, str(block.file)) if block.file else (NO_FILE, "")


class _Places:
    """Names the function that a block belongs to, or the block; reads each file's symbols once."""

    def __init__(self) -> None:
        self._functions: dict[Path, Functions | None] = {}

    def __call__(self, block: Block) -> _Key:
        if block.file is None:
            return f"+{block.address:#x}", ""
        if block.file not in self._functions:
            self._functions[block.file] = _functions(block.file)
        known = self._functions[block.file]
        function = known.at(block.offset) if known else None
        return function.name if function else f"+{block.offset:#x}", str(block.file)


def _functions(file: Path) -> Functions | None:
    """None where the file cannot be read: it may be gone, or be no library at all."""
    try:
        return Functions(file)
    except UserError:
        return None


def _group(blocks: Iterable[Block], key: Callable[[Block], _Key]) -> dict[_Key, list[Block]]:
    groups: dict[_Key, list[Block]] = defaultdict(list)
    for block in blocks:
        groups[key(block)].append(block)
    return groups


def _part(name: str, file: str, blocks: Sequence[Block], cost: Estimate) -> Part:
    found = Profile(tuple(blocks), ())
    return Part(name, file, found.instructions, *found.misses(), cost.core_cycles, cost.memory_cycles)


def _hottest_first(parts: Sequence[Part]) -> tuple[Part, ...]:
    return tuple(sorted(parts, key=lambda part: -part.cycles))
