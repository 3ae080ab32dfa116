"""A `PixelTile` written out for 32-bit NEON, whose multiply-adds take a pixel's channel from half a register.

LLVM multiplies and adds apart there, or copies every scalar into a vector first, and spills: with sixteen
registers, loads must come just before what they are for. Multiply-adds are `vmla`, of two roundings, which
every core has; the fused ones take no scalar. How a round goes: the next channels' weights come in pairs of
vectors while the last ones' are multiplied, and a row's next pixel as soon as this one is done with.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

REGISTERS = 16
STEP = 4
"""Input channels of a round: a pixel's are one vector."""
MAX_ROWS = 4
"""Outputs of a tile: their pixels lie in q0 to q3. Scalars can be in q0 to q7."""
ROWS = tuple(f"r{at}" for at in range(MAX_ROWS))
WEIGHTS, COUNT = "r4", "r5"
_PAIR = 2
"""Vectors that a load of weights fills."""


@dataclass(frozen=True)
class Tile:
    """`rows` pixels by `panels` vectors of outputs, summed over `depth` inputs."""

    rows: int
    panels: int
    depth: int

    @property
    def fits(self) -> bool:
        """Whether sums, pixels and two pairs of weights fit the registers, and pairs a channel's weights."""
        return self.rows <= MAX_ROWS and self._room >= 2 * _PAIR and (self._wide or self.panels % _PAIR == 0)

    @property
    def cycles(self) -> int:
        """Instructions of a round and of what is left over, about."""
        products, loads = self.rows * self.panels, -(-self.panels // _PAIR)
        a_round = STEP * products + STEP * self.panels // _PAIR + self.rows + 2
        return self.rounds * a_round + self.depth % STEP * (products + loads + self.rows)

    @property
    def sums(self) -> range:
        """The vector registers of the sums, row by row."""
        return range(REGISTERS - self.rows * self.panels, REGISTERS)

    @property
    def rounds(self) -> int:
        """Of STEP input channels; what is left over follows one by one."""
        return self.depth // STEP

    @property
    def _wide(self) -> bool:
        """Whether a round's channels are loaded without a gap: else each begins with a pair of its own."""
        return self.depth % STEP == 0

    @property
    def _room(self) -> int:
        return REGISTERS - self.rows * self.panels - self.rows

    @cached_property
    def _pairs(self) -> int:
        """Pairs of registers that a round's weights take turns in."""
        loads = STEP * self.panels // _PAIR
        return next(each for each in range(self._room // _PAIR, 0, -1) if loads % each == 0)

    def lines(self) -> list[str]:
        """The instructions, one a line. COUNT is one less than the rounds; addresses end behind operands."""
        lines = []
        if self.rounds:
            lines += [self._pixel(row) for row in range(self.rows)]
            lines += [self._weights(pair) for pair in range(self._pairs)]
        if self.rounds > 1:
            lines += ["1:", *self._round(ahead=True), f"subs {COUNT}, {COUNT}, #1", "bne 1b"]
        if self.rounds:
            lines += self._round(ahead=False)
        return lines + [line for _ in range(self.depth % STEP) for line in self._channel()]

    def _pixel(self, row: int) -> str:
        return f"vld1.32 {{d{2 * row}, d{2 * row + 1}}}, [{ROWS[row]}]!"

    def _weight(self, vector: int) -> int:
        return self.rows + vector % (self._pairs * _PAIR)

    def _weights(self, pair: int) -> str:
        first = 2 * self._weight(pair * _PAIR)
        return f"vld1.32 {{d{first}-d{first + 3}}}, [{WEIGHTS}]!"

    def _multiply_add(self, row: int, panel: int, weight: int, channel: int) -> str:
        scalar = f"d{2 * row + channel // 2}[{channel % 2}]"
        return f"vmla.f32 q{self.sums[row * self.panels + panel]}, q{weight}, {scalar}"

    def _round(self, ahead: bool) -> Iterator[str]:
        """A round; `ahead`: with the loads of what the next one begins with."""
        loads = STEP * self.panels // _PAIR
        for vector in range(STEP * self.panels):
            channel, panel = divmod(vector, self.panels)
            is_last = vector + 1 == STEP * self.panels
            for row in range(self.rows):
                yield self._multiply_add(row, panel, self._weight(vector), channel)
                if is_last and ahead:
                    yield self._pixel(row)
            pair, is_done = divmod(vector, _PAIR)
            following = pair + self._pairs
            if is_done and (ahead or following < loads):
                yield self._weights(following % loads)

    def _channel(self) -> Iterator[str]:
        """One more input channel."""
        for row in range(self.rows):
            yield f"vld1.32 {{d{2 * row}[0]}}, [{ROWS[row]}]!"
        for pair in range(self.panels // _PAIR):
            yield self._weights(0)
            for vector in range(_PAIR):
                for row in range(self.rows):
                    yield self._multiply_add(row, pair * _PAIR + vector, self._weight(vector), 0)
