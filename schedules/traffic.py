"""How a blocked matrix product should be walked, by the cache lines that each order is expected to move.

Loops from outside in: groups of weight panels, blocks of row tiles, the panels of the group, the tiles of
the block. What is walked again and again should be near: half of a cache is taken to hold it.
"""

from __future__ import annotations

from dataclasses import dataclass

from targets.cores import Core

LINE = 64
L2_WEIGHT = 6
"""A line from memory against one from the second level: 24 cycles to 4 (docs/pricing.md)."""


@dataclass(frozen=True)
class Walk:
    """Row tiles per block, and panels per group."""

    tiles: int
    panels: int


def walks(tile_bytes: int, tiles: int, panel_bytes: int, panels: int, core: Core) -> list[Walk]:
    """All walks that leave no rest, the least traffic first.

    There are `tiles` row tiles, each reading `tile_bytes` of pixels, and `panels` weight panels of
    `panel_bytes`.
    """
    product = _Product(tile_bytes, tiles, panel_bytes, panels, core.l1d_kib * 512, core.l2_kib * 512)
    found = [Walk(block, group) for block in _divisors(tiles) for group in _divisors(panels)]
    return sorted(found, key=lambda walk: (product.lines(walk), -walk.tiles, -walk.panels))


@dataclass(frozen=True)
class _Product:
    tile_bytes: int
    tiles: int
    panel_bytes: int
    panels: int
    near: int
    far: int

    def lines(self, walk: Walk) -> float:
        """Lines into the first level, and (weighted) into the second."""
        blocks, groups = self.tiles // walk.tiles, self.panels // walk.panels
        pixels, weights = self.tile_bytes * self.tiles, self.panel_bytes * self.panels
        if self.tile_bytes * walk.tiles <= self.near:
            first = groups * pixels + blocks * weights
        elif self.panel_bytes <= self.near:
            first = self.panels * pixels + blocks * weights
        else:
            first = self.panels * pixels + self.tiles * weights
        if pixels + weights <= self.far or blocks == 1 == groups:
            second = pixels + weights
        elif self.panel_bytes * walk.panels <= self.far:
            second = weights + pixels * (groups if pixels > self.far else 1)
        else:
            second = blocks * weights + pixels
        return (first + L2_WEIGHT * second) / LINE


def _divisors(number: int) -> list[int]:
    return [each for each in range(1, number + 1) if number % each == 0]
