"""Cache lines: how a blocked matrix product should be walked, by those that each order is expected to move,
and whether given ones stay.

Loops from outside in: groups of weight panels, blocks of row tiles, the panels of the group, the tiles of
the block. What is walked again and again should be near: half of a cache is taken to hold it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from targets.cores import Core

BYTES = 4
LINE = 64
L2_WEIGHT = 6
"""A line from memory against one from the second level: 24 cycles to 4 (docs/pricing.md)."""


@dataclass(frozen=True)
class Walk:
    """Row tiles per block, and panels per group."""

    tiles: int
    panels: int


@dataclass(frozen=True)
class Product:
    """A matrix product cut into `tiles` row tiles of `rows` by `panels` panels of `columns`, `depth` deep."""

    rows: int
    tiles: int
    columns: int
    panels: int
    depth: int
    taps: int = 1
    """Of a window: a pixel is read so often, but is as near as its neighbours."""

    def walks(self, core: Core) -> list[Walk]:
        """The walks in whole groups, those of the least traffic first."""
        blocks = sorted({-(-self.tiles // parts) for parts in range(1, self.tiles + 1)})
        groups = [each for each in range(1, self.panels + 1) if self.panels % each == 0]
        found = [Walk(block, group) for block in blocks for group in groups]
        return sorted(found, key=lambda walk: (self.lines(walk, core), -walk.tiles, -walk.panels))

    def lines(self, walk: Walk, core: Core) -> float:
        """Lines into the first level, and into the second by their weight."""
        near, far = core.l1d_kib * 512, core.l2_kib * 512
        blocks, groups = -(-self.tiles // walk.tiles), self.panels // walk.panels
        tile = self.rows * self.depth * BYTES
        panel = self.columns * self.depth * self.taps * BYTES
        pixels, weights = tile * self.tiles, panel * self.panels
        sums = self.rows * self.tiles * self.columns * self.panels * BYTES
        edge = self.rows * walk.tiles * LINE  # a panel's columns in a block's rows, which the next one shares
        first = blocks * weights
        if walk.tiles == 1 and tile + panel > 2 * near:
            first += self.panels * pixels
        elif tile * walk.tiles + edge <= near:
            first += groups * pixels
        elif panel <= near:
            first += self.panels * pixels
        else:
            first = self.panels * pixels + self.tiles * weights
        parts = max(1, LINE // (self.columns * BYTES))
        first += sums * (1 if edge <= near // 2 and (walk.panels > 1 or groups == 1) else parts)
        second = float(pixels + weights)
        if second > far:
            passes = 1 if pixels <= far else groups if tile * walk.tiles <= far else self.panels
            second = pixels * passes + weights * (1 if panel * walk.panels <= far else blocks)
        return (first + L2_WEIGHT * second) / LINE


def lines_stay(addresses: Iterable[int], core: Core) -> bool:
    """Whether the lines of these bytes fit the first-level cache: no set has more of them than its ways."""
    sets = core.l1d_kib * 1024 // (LINE * core.l1d_ways)
    lines = {address // LINE for address in addresses}
    return max(Counter(line % sets for line in lines).values()) <= core.l1d_ways
