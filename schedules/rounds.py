"""Rounds of multiply-adds with the loads of their operands among them, as a core's load style wants them.

A round is a loop's body: each of its vectors is loaded once, some of them (`ahead`) already in the round
before, while their registers are free and nothing waits for them. The kernels that know their operands
(image_step.py, pixel_tile.py) say what is multiplied, in which registers; places.py finds a place for every
load, and here they become instructions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from schedules.microkernel import INTERLEAVED, PAIRED, VECTOR
from schedules.places import EARLY, Loads, Plan

LEAST_LEAD = {VECTOR: 0, PAIRED: EARLY, INTERLEAVED: EARLY}
"""By load style, the lead below which a core waits for its loads."""
_LATE = 2  # cycles of a round for each multiply-add that loads are later than they should be, about
_SUMMED = 4  # cycles from a multiply-add to the next of its sum (docs/pricing.md)
_LANES = 4
_LOADED = {4: ("q", 16), 2: ("d", 8), 1: ("s", 4)}
"""By lanes: the register's name in `ldr`, and its bytes."""


@dataclass(frozen=True)
class Address:
    """A general register, and bytes from where it points."""

    base: str
    offset: int = 0

    def load(self, target: str, size: int, part: int = 0) -> str | None:
        """A load of `size` bytes, `part` bytes on; None where it is out of reach (Arm ARM, C6.2).

        Of 128 bits by `ldur` where that reaches: on A76, `ldr` takes an integer pipe as well
        (AArch64SchedNeoverseN1.td, "Load vector reg, unsigned immed").
        """
        offset = self.offset + part
        aligned = offset % size == 0 and 0 <= offset <= 4095 * size
        if -256 <= offset < 256 and (size == 16 or not aligned):
            return f"ldur {target}, [{self.base}, #{offset}]"
        return f"ldr {target}, [{self.base}, #{offset}]" if aligned else None


@dataclass(frozen=True)
class Vector:
    """An operand that a round loads once."""

    register: int
    here: Address
    ahead: Address
    """Where the next round's is, seen from this round."""
    lanes: int = _LANES
    """Elements that are loaded: 4, 2 or 1."""


@dataclass(frozen=True)
class Product:
    """`total` += weights * pixels[lane]: a register, and two of the round's vectors by number."""

    total: int
    weights: int
    pixels: int
    lane: int


@dataclass(frozen=True)
class _Event:
    """One instruction of a load."""

    place: int
    """The multiply-add before which it goes; below zero in the round before."""
    turn: int
    """Which is first of those at one place."""
    target: str
    vector: Vector
    size: int
    """Bytes that are loaded; 0 for `ins`."""
    part: int = 0
    """Bytes from the vector's beginning."""
    source: str = ""
    """What `ins` inserts."""

    def text(self, ahead: bool, moved: int = 0) -> str | None:
        """The instruction, its base having been moved on by `moved` bytes; None where it is out of reach."""
        if self.source:
            return f"ins {self.target}, {self.source}"
        return self.address(ahead).load(self.target, self.size, self.part - moved)

    def address(self, ahead: bool) -> Address:
        """Where its vector is."""
        return self.vector.ahead if ahead else self.vector.here

    def in_round(self, moved: int = 0) -> str | None:
        """The instruction as a round has it."""
        return self.text(self.place < 0, moved)

    def base(self) -> str | None:
        """The address register that it uses in a round, if it does."""
        return None if self.source else self.address(self.place < 0).base


@dataclass(frozen=True)
class Round:
    """The body of a loop."""

    vectors: tuple[Vector, ...]
    products: tuple[Product, ...]
    style: str
    scratch: tuple[str, ...]
    """General registers for upper halves."""
    steps: Mapping[str, int]
    """By general register: bytes that a round moves it on."""

    @property
    def fits(self) -> bool:
        """Whether every load finds a place while its register is free, and reaches its address."""
        return self._plan is not None and all(
            event.text(ahead) is not None for event in self._events for ahead in (False, True)
        )

    @property
    def cycles(self) -> int:
        """About what a round takes: multiply-adds, and what of the loads does not go beside them."""
        assert self._plan is not None
        products, vectors, waste = len(self.products), len(self.vectors), self._plan.waste
        pipes = 2 if self.style == VECTOR else 1
        chain = pipes * _SUMMED * products // len({product.total for product in self.products})
        late = _LATE * max(0, EARLY - self.lead)
        least = {
            PAIRED: products + vectors + waste + late,
            INTERLEAVED: max(products + waste, 2 * vectors) + late,
            VECTOR: products + vectors // 2,  # they are beside each other, but move cache lines
        }
        return max(chain, least[self.style])

    @property
    def waste(self) -> int:
        """Instructions that no other goes beside."""
        assert self._plan is not None
        return self._plan.waste

    @property
    def lead(self) -> int:
        """Multiply-adds that every load is ahead of its first use."""
        return -1 if self._plan is None else self._plan.lead

    def lines(self, count: str, starts: Sequence[str]) -> list[str]:
        """All rounds, one instruction a line: one, and then as many again as the register `count` says.

        `starts` are what sets the sums before; `count` may be zero.
        """
        ahead = [event for event in self._events if event.place < 0]
        before = _before(ahead, list(starts))
        return [*before, f"cbz {count}, 2f", "1:", *self._body(count), "b.ne 1b", "2:", *self._body(None)]

    @cached_property
    def _plan(self) -> Plan | None:
        windows = self._windows()
        if windows is None:
            return None
        halves = tuple(self.style != VECTOR and vector.lanes == _LANES for vector in self.vectors)
        return Loads(windows, halves, len(self.products), self.style, self.scratch).plan()

    def _windows(self) -> tuple[tuple[int, int], ...] | None:
        """Of each vector: the place from which on its register is free, and the one that reads it first."""
        length = len(self.products)
        first: dict[int, int] = {}
        last: dict[int, int] = {}
        for at, product in enumerate(self.products):
            for vector in (product.weights, product.pixels):
                first.setdefault(vector, at)
                last[vector] = at
        tenants: dict[int, list[int]] = {}
        for vector in sorted(first, key=first.__getitem__):
            tenants.setdefault(self.vectors[vector].register, []).append(vector)
        found = [(0, 0)] * len(self.vectors)
        for together in tenants.values():
            for at, vector in enumerate(together):
                free = last[together[at - 1]] + 1 - (length if at == 0 else 0)
                if free > first[vector]:
                    return None
                found[vector] = (free, first[vector])
        return tuple(found)

    @cached_property
    def _events(self) -> list[_Event]:
        """Every instruction that loads, in the order of a round."""
        plan, length = self._plan, len(self.products)
        assert plan is not None
        found = []
        for number, vector in enumerate(self.vectors):
            place, insert, upper = plan.places[number], plan.inserts[number], plan.uppers[number]
            name, size = _LOADED[vector.lanes]
            if not upper:
                found.append(_Event(place, 2, f"{name}{vector.register}", vector, size))
                continue
            found.append(_Event(place, 2, f"d{vector.register}", vector, 8))
            found.append(_Event(place + 1, 0, upper, vector, 8, 8))
            found.append(_Event(insert, 1, f"v{vector.register}.d[1]", vector, 0, source=upper))
        return sorted(found, key=lambda event: (event.place % length, event.turn, event.place))

    def _body(self, count: str | None) -> list[str]:
        """A round, which takes one from `count`; the last one, without, does not move on."""
        length = len(self.products)
        events = [event for event in self._events if count or event.place >= 0]
        moves = self._moves() if count else {}
        added: dict[int, list[str]] = {}
        for register, place in moves.items():
            added.setdefault(place, []).extend(add(register, register, self.steps[register]))
        if count:
            busy = {event.place % length for event in events} | set(moves.values())
            place = next((at for at in range(length) if at not in busy), length)
            added.setdefault(place, []).append(f"subs {count}, {count}, #1")
        lines: list[str] = []
        for at, product in enumerate(self.products):
            lines += added.get(at, [])
            lines += [self._loading(event, moves) for event in events if event.place % length == at]
            weights, pixels = (self.vectors[each].register for each in (product.weights, product.pixels))
            lines.append(f"fmla v{product.total}.4s, v{weights}.4s, v{pixels}.s[{product.lane}]")
        return lines + added.get(length, [])

    def _loading(self, event: _Event, moves: Mapping[str, int]) -> str:
        """The instruction in a round in which addresses are moved on at the places `moves`."""
        base, length = event.base(), len(self.products)
        is_moved = base is not None and event.place % length >= moves.get(base, length)
        return str(event.in_round(self.steps[base] if base is not None and is_moved else 0))

    def _moves(self) -> dict[str, int]:
        """The place of the addition to each address: beside a multiply-add that is alone, or else the end."""
        length = len(self.products)
        busy = {event.place % length for event in self._events}
        found: dict[str, int] = {}
        for register, step in self.steps.items():
            uses = [event for event in self._events if event.base() == register]
            free = [
                at
                for at in range(length - 1, -1, -1)
                if at not in busy
                and all(event.place % length < at or event.in_round(step) is not None for event in uses)
            ]
            found[register] = free[0] if free else length
            busy.add(found[register])
        return found


def add(target: str, source: str, value: int) -> list[str]:
    """Instructions for `target` = `source` + `value`, which is below 2 ** 24 (Arm ARM, C6.2: imm12)."""
    high, low = divmod(value, 4096)
    lines = [f"add {target}, {source}, #{high}, lsl #12"] if high else []
    return lines + ([f"add {target}, {target if high else source}, #{low}"] if low or not high else [])


def _before(ahead: list[_Event], starts: list[str]) -> list[str]:
    """What the first round needs: each load beside something that sets a sum, `ins` two loads later."""
    lines: list[str] = []
    late: dict[str, str] = {}  # by general register
    for event in sorted(ahead, key=lambda event: (event.place, event.turn)):
        text = str(event.text(ahead=False))
        if event.source:
            late[event.source] = text
        else:
            lines += [late.pop(event.target)] if event.target in late else []
            lines += [text, *starts[:1]]
            starts = starts[1:]
        if len(late) > 2:
            lines.append(late.pop(next(iter(late))))
    return lines + starts + list(late.values())
