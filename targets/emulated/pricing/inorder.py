"""The throughput of a block on an in-order core: the block is issued again and again until it repeats itself.

Adding an instruction never makes a block cheaper: issue times only ever wait for earlier ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from targets.emulated.pricing.instruction import Instruction
from targets.emulated.pricing.rules import Rules

ITERATIONS = 64
"""When no earlier state has come back by then, the average of the second half is the price."""

_NEON = {"mac", "fp", "vector", "fdiv"}


@dataclass(frozen=True)
class _Step:
    """An instruction as its core sees it."""

    kind: str
    reads: tuple[str, ...]
    accumulator: str | None
    written: tuple[tuple[str, int, int], ...]  # register, cycles to an accumulator, elsewhere
    neon: int
    memory: int  # 1 for a memory operation
    alone: int  # issue cycles in which nothing else goes; 0 if others may
    busy: tuple[str, int] | None  # a unit, and the cycles until it takes the next
    apart: frozenset[str]  # kinds that do not go in the same cycle


@dataclass
class _Machine:
    rules: Rules
    cycle: int = 0  # of the last issue
    issued: list[_Step] = field(default_factory=list)  # in that cycle
    ready: dict[str, int] = field(default_factory=dict)
    accumulators: dict[str, int] = field(default_factory=dict)
    units: dict[str, int] = field(default_factory=dict)

    def issue(self, step: _Step) -> None:
        cycle = self.cycle if self._fits(step) else self._next_cycle()
        for name in step.reads:
            cycle = max(cycle, self.ready.get(name, 0))
        if step.accumulator:
            cycle = max(cycle, self.accumulators.get(step.accumulator, 0))
        if step.busy:
            unit, cycles = step.busy
            cycle = max(cycle, self.units.get(unit, 0))
            self.units[unit] = cycle + cycles
        if cycle > self.cycle:
            self.cycle, self.issued = cycle, []
        self.issued.append(step)
        for name, early, late in step.written:
            self.accumulators[name] = max(self.accumulators.get(name, 0), cycle + early)
            self.ready[name] = max(self.ready.get(name, 0), cycle + late)

    def _next_cycle(self) -> int:
        return self.cycle + max(1, self.issued[-1].alone)

    def _fits(self, step: _Step) -> bool:
        """Whether the step may join the current cycle. No waiting for operands here."""
        issued, rules = self.issued, self.rules
        if not issued:
            return True
        if len(issued) == rules.width or step.alone or issued[-1].alone:
            return False
        return (
            sum(other.neon for other in issued) + step.neon <= rules.neon
            and sum(other.memory for other in issued) + step.memory <= rules.memory
            and not any(other.kind in step.apart for other in issued)
        )

    def state(self) -> tuple[object, ...]:
        """All that decides the future, relative to the current cycle."""
        waits = (
            tuple(sorted((name, at - self.cycle) for name, at in times.items() if at > self.cycle))
            for times in (self.ready, self.accumulators, self.units)
        )
        return (*waits, tuple(id(step) for step in self.issued))


def cycles_in_order(block: Sequence[Instruction], rules: Rules) -> float:
    """Cycles per execution of the block when it follows itself."""
    if not block:
        return 0.0
    known: dict[Instruction, _Step] = {}
    steps = [known.setdefault(one, _step(one, rules)) for one in block]
    machine = _Machine(rules)
    seen: dict[tuple[object, ...], int] = {}
    cycles: list[int] = []
    for iteration in range(ITERATIONS + 1):
        cycles.append(machine.cycle)
        first = seen.setdefault(machine.state(), iteration)
        if first != iteration:
            return (machine.cycle - cycles[first]) / (iteration - first)
        for step in steps:
            machine.issue(step)
    half = ITERATIONS // 2
    return (cycles[-1] - cycles[half]) / (ITERATIONS - half)


def _step(one: Instruction, rules: Rules) -> _Step:
    memory = one.kind.startswith(("load", "store"))
    width = rules.load_bits if one.kind.startswith("load") else rules.store_bits
    moves = -(-max(one.bits, 1) // width) if memory else 1
    alone = moves if one.kind == "load_neon" and moves > 1 else 0
    halves = one.bits // 64 if one.kind in _NEON else rules.insert if one.kind == "insert" else 0
    divides = rules.divide.get((one.kind, one.double))
    early = divides[0] if divides else rules.latency[one.kind] + moves - 1
    late = rules.mac_elsewhere if one.kind == "mac" else early
    written = [(name, early, late) for name in sorted(one.writes)]
    busy = ("memory", moves if moves > 1 else 0) if memory else None
    return _Step(
        one.kind,
        tuple(sorted(one.reads)),
        one.accumulator,
        (*written, *([(one.base, 1, 1)] if one.base else [])),
        halves,
        int(memory),
        alone,
        (one.kind, divides[1]) if divides else busy,
        frozenset(k for kinds in rules.never if one.kind in kinds for k in (kinds - {one.kind} or kinds)),
    )
