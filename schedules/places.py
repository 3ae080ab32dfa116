"""Places for the loads of a loop's operands among its multiply-adds.

Each vector has the span of places between its register's last use and its own first use, counted in
multiply-adds, below zero in the round before. Loads want to be apart, so that other instructions go beside
them, and early, so that nothing waits: a perfect matching gives each vector one of the places of a grid.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from schedules.microkernel import PAIRED, VECTOR

EARLY = 6
"""Multiply-adds between a vector's place and its first use that an in-order core does not wait for."""
_LEADS = ((8, 7, EARLY), (5,), (4,), (3,), (2,), (1,), (0,))
"""The same, tried in turn; halves cannot do without (they are three instructions)."""
_APART = (3, 2, 1)
"""Multiply-adds from a vector to the next in a grid that is closer than even, best first."""
_LOADED = 4  # cycles from `ldr d` to its `ins`, at least: a load's latency (docs/pricing.md)
_INSERTED = 2  # multiply-adds from `ins` to the first use, at least
_FAR = 8  # multiply-adds further on in which a place is sought for an `ins` that is not beside a load


@dataclass(frozen=True)
class Plan:
    """By vector: the place of its load, and of its `ins`."""

    places: tuple[int, ...]
    inserts: tuple[int, ...]
    uppers: tuple[str, ...]
    """The general register of its upper half; empty where it is loaded whole."""
    lead: int
    """Multiply-adds that every load is ahead of its first use."""
    waste: int
    """Instructions that no other goes beside."""


@dataclass(frozen=True)
class Loads:
    """What a round of `length` multiply-adds loads."""

    windows: tuple[tuple[int, int], ...]
    """Of each vector: the place from which on its register is free, and the one that reads it first."""
    halves: tuple[bool, ...]
    """Which are loaded as `ldr d`, `ldr x` and `ins`."""
    length: int
    style: str
    scratch: tuple[str, ...]
    """General registers for upper halves."""

    def plan(self) -> Plan | None:
        """The best places; None where there are none."""
        count = len(self.windows)
        even = [at * self.length // count for at in range(count)]
        for apart, leads in itertools.product(_APART, _LEADS[: None if self.style == VECTOR else -1]):
            close = [list(range(at, self.length + at - apart + 1, apart)) for at in range(apart)]
            found: list[Plan] = []
            for lead, grid, late in itertools.product(leads, [even, *close], (True, False)):
                plan = self._planned(lead, grid, late)
                if plan is not None and plan.waste == 0:
                    return plan
                found += [] if plan is None else [plan]
            if found:
                return min(found, key=lambda plan: plan.waste)
        return None

    def _planned(self, lead: int, grid: list[int], late: bool) -> Plan | None:
        """Each vector in a place of `grid`, at least `lead` before it is read, `late` or early."""
        wanted = []
        for free, needed in self.windows:
            end = needed - lead
            seats = {at: end - (end - place) % self.length for at, place in enumerate(grid)}
            wanted.append({at: place for at, place in seats.items() if place >= free})
        taken = _matched([sorted(seats, key=seats.__getitem__, reverse=late) for seats in wanted])
        if taken is None:
            return None
        places = [seats[at] for seats, at in zip(wanted, taken, strict=True)]
        inserts, waste = self._inserts(places)
        uppers = self._uppers(places, inserts)
        return None if uppers is None else Plan(tuple(places), tuple(inserts), uppers, lead, waste)

    def _inserts(self, places: list[int]) -> tuple[list[int], int]:
        """Places of the `ins`, and how many are alone.

        In style PAIRED they go beside a later load, else beside a multiply-add that has no load beside it.
        """
        begins = {place % self.length for place in places}
        taken = begins | {(place + 1) % self.length for place in places}
        dense = max(1.0, 2 * len(places) / self.length)  # cycles of a multiply-add with its loads
        inserts, alone = [], 0
        for place, (_, end), is_split in zip(places, self.windows, self.halves, strict=True):
            if not is_split:
                inserts.append(place)
                continue
            if self.style == PAIRED:
                beside = [at for at in range(place + 1, end) if at % self.length in begins]
                cycles = {at: at - place + 1 + sum(other < at for other in beside) for at in beside}
                turns = [at for at in beside if cycles[at] >= _LOADED and end - at >= _INSERTED]
            else:
                first = place + 1 + -int(-(_LOADED - 1) // dense)
                last = min(first + _FAR, end - _INSERTED)
                turns = [at for at in range(first, last + 1) if at % self.length not in taken]
            inserts.append(turns[0] if turns else max(place + 1, min(place + _LOADED, end - _INSERTED)))
            taken.add(inserts[-1] % self.length)
            alone += not turns
        return inserts, alone

    def _uppers(self, places: list[int], inserts: list[int]) -> tuple[str, ...] | None:
        """A general register for each upper half, which no other holds at that time; None if they run out."""
        held: dict[str, set[int]] = {name: set() for name in self.scratch}
        found = [""] * len(places)
        for number in sorted(range(len(places)), key=places.__getitem__):
            if not self.halves[number]:
                continue
            span = {at % self.length for at in range(places[number] + 1, inserts[number] + 1)}
            found[number] = next((name for name, busy in held.items() if not busy & span), "")
            if not found[number]:
                return None
            held[found[number]] |= span
        return tuple(found)


def _matched(wanted: list[list[int]]) -> list[int] | None:
    """One seat for each, of those that each wants, best first: a perfect matching by augmenting paths."""
    owner: dict[int, int] = {}

    def seat(one: int, seen: set[int]) -> bool:
        for place in wanted[one]:
            if place not in seen:
                seen.add(place)
                if place not in owner or seat(owner[place], seen):
                    owner[place] = one
                    return True
        return False

    for one in sorted(range(len(wanted)), key=lambda each: len(wanted[each])):
        if not seat(one, set()):
            return None
    return [place for _, place in sorted((one, place) for place, one in owner.items())]
