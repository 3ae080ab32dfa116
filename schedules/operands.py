"""A pointwise tile's round of multiply-adds: operands in registers, and where it loads the next round's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from schedules.kernel import LANES

PAIRED = "paired"
"""A53: `ldr d` never issues beside `fmla`, so it goes beside the `ins` of the vector before it."""
INTERLEAVED = "interleaved"
"""A55: every half goes beside an `fmla`."""
VECTOR = "vector"
"""Any other AArch64 core: 128 bits at a time."""
PLAIN = "plain"
"""Nothing is written out: the loops are left to LLVM, as on cores of another architecture."""

BY_SCALAR = "by_scalar"
"""32-bit cores: tiles of pixels alone are written out (arm32.py), the rest is left to LLVM."""

STEP = 4
"""Input channels of one round: a pixel's are one vector."""
VECTORS = 32
BYTES = 4
PIXELS, WEIGHTS = "x9", "x10"
CENTRE = 256
"""Bytes that style VECTOR has its pixels' base moved on, to the middle of what `ldur` reaches."""
SCRATCH = ("x12", "x13", "x14", "x15", "x16", "x17")
_APART = 3  # multiply-adds between the loads of two vectors, at least: a load's latency is 3 to 4 cycles


@dataclass(frozen=True)
class Load:
    """One of the instructions that load an operand."""

    place: int
    """The multiply-add of the round before which it goes."""
    ahead: bool
    """Whether it loads what the next round needs, and so goes before the first one too."""
    template: str
    """Its text, with a place for the offset in bytes."""
    offset: int
    """From the base, of what the first round needs."""
    pitch: int
    """Bytes to what the next round needs."""

    def text(self, rounds: int) -> str:
        """The load of what is needed so many rounds after the one that the bases point at."""
        return load_text(self.template, self.offset + rounds * self.pitch)


@dataclass(frozen=True)
class _Vector:
    """An operand that is loaded once per round."""

    register: int
    base: str
    offset: int
    free: int
    """The multiply-add of the round from which on it may be overwritten."""
    needed: int
    """The multiply-add of the next round that reads it first, counted on from this round's."""
    pitch: int
    """Bytes to the next round's."""


def load_text(template: str, offset: int) -> str:
    """A load at an offset. By Neoverse N1's guide `ldr` of 128 bits takes one micro-operation more than
    `ldur`, which does not reach as far.
    """
    text = template.format(offset)
    return text.replace("ldr q", "ldur q") if -256 <= offset < 256 else text


@dataclass(frozen=True)
class Operands:
    """Those of `rows` pixels, `pitch` elements apart, by `panels` vectors of outputs."""

    rows: int
    panels: int
    pitch: int
    style: str

    @property
    def registers(self) -> int:
        """How many vector registers they take, from v0 on."""
        return self.rows + STEP * self.panels

    @property
    def in_time(self) -> bool:
        """Whether every vector's loads lie between its register's last use and its next."""
        vectors = self._vectors()
        return self.style == VECTOR or all(
            vector.free <= slot and slot + 1 < vector.needed
            for vector, slot in zip(vectors, self._slots(vectors), strict=True)
        )

    def multiply_adds(self, first: int) -> list[str]:
        """A round's, into the sums from register `first` on, row by row."""
        return [
            f"fmla v{first + row * self.panels + panel}.4s,"
            f" v{self.rows + k * self.panels + panel}.4s, v{row}.s[{k}]"
            for k in range(STEP)
            for row in range(self.rows)
            for panel in range(self.panels)
        ]

    def loads(self) -> list[Load]:
        """All of a round's, in an order that they can keep."""
        return list(self._whole_loads() if self.style == VECTOR else self._split_loads())

    @property
    def _quarter(self) -> int:
        return self.rows * self.panels

    @property
    def _length(self) -> int:
        return STEP * self._quarter

    def _vectors(self) -> list[_Vector]:
        """In the order in which their registers become free, from the last quarter of a round on."""
        panels, quarter, length = self.panels, self._quarter, self._length
        pixels = [
            _Vector(
                row,
                PIXELS,
                row * self.pitch * BYTES - CENTRE * (self.style == VECTOR),
                3 * quarter + (row + 1) * panels,
                length + row * panels,
                STEP * BYTES,
            )
            for row in range(self.rows)
        ]
        weights = [
            _Vector(
                self.rows + k * panels + panel,
                WEIGHTS,
                (k * panels + panel) * LANES * BYTES,
                (k + 1) * quarter,
                length + k * quarter + panel,
                STEP * panels * LANES * BYTES,
            )
            for k in (2, 3, 0, 1)
            for panel in range(panels)
        ]
        return pixels + weights

    def _whole_loads(self) -> Iterator[Load]:
        """Each as soon as its register is free: such a core finds what can go beside it by itself."""
        length = self._length
        for vector in sorted(self._vectors(), key=lambda vector: vector.free % length):
            template = f"ldr q{vector.register}, [{vector.base}, #{{}}]"
            ahead = vector.free < length
            yield Load(vector.free % length, ahead, template, vector.offset, vector.pitch)

    def _slots(self, vectors: list[_Vector]) -> list[int]:
        """The multiply-add before which each vector is loaded, counted from the start of the round that frees
        its register: pixels closely, since they are read within a quarter, then weights spread out.
        """
        length = self._length
        start = 3 * length // 4 + self.panels
        tight = [start + row * _APART for row in range(self.rows)]
        rest, end = len(vectors) - self.rows, tight[-1] + _APART
        spread = [end + at * (start + length - end) // rest for at in range(rest)]
        return [
            vector.free + (slot - vector.free) % length
            for vector, slot in zip(vectors, tight + spread, strict=True)
        ]

    def _split_loads(self) -> Iterator[Load]:
        """Each vector by halves: `ldr d`, `ldr x`, `ins`."""
        vectors, length = self._vectors(), self._length
        slots = self._slots(vectors)
        taken = {place % length for slot in slots for place in (slot, slot + 1)}
        ordered = sorted(zip(slots, vectors, strict=True), key=lambda pair: pair[0] % length)
        # Taken in turn, also from one round to the next: at least three apart.
        turn = next(count for count in (4, 5, 6) if len(vectors) % count in (0, 3, 4, 5))
        for at, (slot, vector) in enumerate(ordered):
            scratch = SCRATCH[at % turn]
            if self.style == PAIRED:
                gap = (ordered[(at + 1) % len(ordered)][0] - slot) % length
                insert = slot + max(gap, _APART)
            else:
                free = (place for place in range(slot + 4, slot + 9) if place % length not in taken)
                insert = next(free, slot + 5)
            insert = min(insert, vector.needed)
            taken.add(insert % length)
            for place, text, part in (
                (slot, f"ldr d{vector.register}, [{vector.base}, #{{}}]", 0),
                (slot + 1, f"ldr {scratch}, [{vector.base}, #{{}}]", 8),
                (insert, f"ins v{vector.register}.d[1], {scratch}", 0),
            ):
                yield Load(place % length, place < length, text, vector.offset + part, vector.pitch)
