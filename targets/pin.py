"""The CPUs of a board that a session is kept on: numbers, or the cluster of one core design."""

from __future__ import annotations

import re
from dataclasses import dataclass

from targets.board_state import BoardState, cpu_list, cpu_set
from targets.cores import find_core
from targets.errors import UserError

_LIST = re.compile(r"\d{1,4}(-\d{1,4})?(,\d{1,4}(-\d{1,4})?)*")


@dataclass(frozen=True)
class Pin:
    """What the user asks for: CPUs by their numbers, or else all that are of a core."""

    numbers: frozenset[int] = frozenset()
    core: str = ""

    def cpus_of(self, state: BoardState, spec: str) -> frozenset[int]:
        """The CPUs of the board `spec` that are meant. UserError where it has none such."""
        known = f"it has {_described(state) or 'none that it tells of'}"
        if self.core:
            found = frozenset(cpu.number for cpu in state.cpus if cpu.core == self.core)
            if not found:
                raise UserError(f"{spec} has no {self.core} to be kept on: {known}. Give their numbers.")
            return found
        absent = self.numbers - {cpu.number for cpu in state.cpus}
        if absent and state.cpus:
            raise UserError(f"{spec} has no cpu {cpu_list(absent)} to be kept on: {known}.")
        return self.numbers


def parse_pin(text: str) -> Pin:
    """What `4-5`, `0,2-3` or a core's name stands for. UserError where it is neither."""
    words = text.replace(" ", "")
    if not _LIST.fullmatch(words):
        if words[:1].isdigit():
            raise UserError(f"{text!r} is no list of CPUs such as 4-5 or 0,2-3.")
        return Pin(core=find_core(text).name)
    numbers = cpu_set(words)
    if not numbers:
        raise UserError(f"{text!r} names no CPU: give the lower number first, as in 4-5.")
    return Pin(numbers)


def _described(state: BoardState) -> str:
    """Each kind of CPU, with its numbers."""
    kinds: dict[str, list[int]] = {}
    for cpu in state.cpus:
        kinds.setdefault(cpu.core or "", []).append(cpu.number)
    return "; ".join(f"cpu {cpu_list(numbers)} {core}".strip() for core, numbers in kinds.items())
