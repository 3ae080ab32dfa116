"""A matrix product's tile whose pixels lie anywhere, written out: what one tap of a window adds to its sums.

Each output's pixel has an address of its own, so that a tile may go over the end of a row, and what lies
beside the image is read from a row of zeros. Rounds are of `step` input channels, a pixel's being one or two
vectors; channels that are left over follow one by one. The sums come and go in registers: the loops over the
window around it keep them there. A dense layer is the same, without a window.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace

from schedules import arm32, inline
from schedules.kernel import LANES
from schedules.microkernel import BY_SCALAR, PLAIN, STYLES, VECTOR, VECTORS
from schedules.rounds import Address, Product, Round, Vector, add
from schedules.space import Decider

STEPS = (4, 8)
"""Input channels of one round: with two vectors of a pixel, one is loaded while the other is multiplied."""
MAX_ROWS = 8
"""Outputs of a tile: each has an address register."""

PLAIN_VECTORS = 16
"""Vector registers of the narrowest CPU whose loops are left to LLVM: an x86-64 without AVX-512."""

_BYTES = 4
_STARTING = 16  # cycles until the first vectors are there, about
_PIXELS = tuple(f"x{at}" for at in range(MAX_ROWS))
_WEIGHTS, _COUNT = ("x8", "x16", "x17"), "x9"
_NEAR = 32
"""Vectors in reach of `ldur` from one address register, half of them before it (rounds.py)."""
_SCRATCH = ("x10", "x11", "x12", "x13", "x14", "x15")


_A64 = inline.Registers(inline.A64, VECTORS, _PIXELS, _WEIGHTS[0], _COUNT, (*_SCRATCH, *_WEIGHTS[1:]))
_A32 = inline.Registers(inline.A32, arm32.REGISTERS, arm32.ROWS, arm32.WEIGHTS, arm32.COUNT, ())
_FITTING = {PLAIN: (PLAIN,), BY_SCALAR: (BY_SCALAR, PLAIN)}
"""The styles to try for a core's own, first the best; of those that are not here, VECTOR is the second."""


@dataclass(frozen=True)
class PixelTile:
    """`rows` outputs by `columns` channels, to which a tap adds its product over `depth` input channels."""

    rows: int
    columns: int
    depth: int
    step: int
    """Input channels of a round."""
    borders: bool
    """Whether a pixel may lie beside the image."""
    style: str

    @property
    def name(self) -> str:
        """The function's name in LLVM IR."""
        numbers = (self.rows, self.columns, self.depth, self.step, int(self.borders))
        return f"armature_pixels_{'_'.join(map(str, numbers))}_{self.style}"

    @property
    def fits(self) -> bool:
        """Whether sums and operands fit the registers."""
        if self.rows > MAX_ROWS or self.columns % LANES:
            return False
        if self.style == BY_SCALAR:
            return self.step == arm32.STEP and self._arm32.fits
        if self.style == PLAIN:
            return self.depth % self.step == 0 and len(self.sums) + self._operands <= PLAIN_VECTORS
        return self._shared > 0 and self._round.fits

    @property
    def cycles(self) -> int:
        """About what a call takes."""
        panels = self.columns // LANES
        if self.style == BY_SCALAR:
            return _STARTING + self._arm32.cycles
        if self.style == PLAIN:
            return _STARTING + self.depth * (self.rows * panels + self._operands)
        left = self.depth % self.step * (self.rows * panels + self.rows + 2 * panels)
        return _STARTING + self.rounds * self._round.cycles + left

    def decisions(self) -> dict[str, int]:
        """What a schedule is told of it."""
        style = STYLES.index(self.style)
        return {"rows": self.rows, "columns": self.columns, "step": self.step, "load_style": style}

    @property
    def sums(self) -> range:
        """The vector registers of the sums, output by output."""
        if self.style == BY_SCALAR:
            return self._arm32.sums
        return range(VECTORS - self.rows * (self.columns // LANES), VECTORS)

    def lines(self) -> list[str]:
        """The instructions, one a line."""
        if self.style == BY_SCALAR:
            return self._arm32.lines()
        lines: list[str] = []
        if self.rounds:
            for at, base in reversed(list(enumerate(self._bases))):
                lines += add(base, _WEIGHTS[0], (at * _NEAR + self._middle) * LANES * _BYTES)
            lines += self._round.lines(_COUNT, [])
        return lines + [line for channel in range(self.depth % self.step) for line in self._channel(channel)]

    @property
    def rounds(self) -> int:
        """Of all its input channels, without those that are left over."""
        return self.depth // self.step

    @property
    def registers(self) -> inline.Registers:
        """Where its operands are."""
        return _A32 if self.style == BY_SCALAR else _A64

    @property
    def _arm32(self) -> arm32.Tile:
        return arm32.Tile(self.rows, self.columns // LANES, self.depth)

    @property
    def _operands(self) -> int:
        """Vectors beside the sums for one input channel where nothing is written out."""
        return self.columns // LANES + 1

    @property
    def _pixels(self) -> int:
        """Vectors of pixels in a round."""
        return self.rows * self.step // LANES

    @property
    def _shared(self) -> int:
        """Registers that a round's weights take turns in: a channel's and more; 0 if there are too few."""
        panels = self.columns // LANES
        room, weights = VECTORS - len(self.sums) - self._pixels, self.step * panels
        return next((each for each in range(min(room, weights), panels, -1) if weights % each == 0), 0)

    @property
    def _round(self) -> Round:
        return _round_of(replace(self, depth=self.step, borders=False))

    def _composed(self) -> Round:
        panels, shared = self.columns // LANES, self._shared
        parts = self.step // LANES
        vectors = []
        for row in range(self.rows):
            for part in range(parts):
                here, ahead = (Address(_PIXELS[row], (part + each) * LANES * _BYTES) for each in (0, parts))
                vectors.append(Vector(row * parts + part, here, ahead))
        step = self.step * self.columns * _BYTES
        for at in range(self.step * panels):
            base, offset = _WEIGHTS[at // _NEAR], (at % _NEAR - self._middle) * LANES * _BYTES
            vectors.append(
                Vector(self._pixels + at % shared, Address(base, offset), Address(base, offset + step))
            )
        products = [
            Product(
                self.sums[row * panels + panel],
                self._pixels + channel * panels + panel,
                row * parts + channel // LANES,
                channel % LANES,
            )
            for channel in range(self.step)
            for row in range(self.rows)
            for panel in range(panels)
        ]
        steps = dict.fromkeys(_PIXELS[: self.rows], self.step * _BYTES)
        steps |= dict.fromkeys(self._bases, step)
        return Round(tuple(vectors), tuple(products), self.style, _SCRATCH, steps)

    @property
    def _bases(self) -> tuple[str, ...]:
        """The address registers of the weights, each for so many of a round's vectors as are near."""
        return _WEIGHTS[: -(-self.step * self.columns // (LANES * _NEAR))]

    @property
    def _middle(self) -> int:
        """How many vectors an address register of the weights is on from the first that is its."""
        return _NEAR // 2 if self.step * self.columns > LANES * _NEAR // 2 else 0

    def _channel(self, channel: int) -> list[str]:
        """One more input channel; the last round has not moved the addresses on."""
        panels, first = self.columns // LANES, 0
        if self.rounds:
            channel, first = channel + self.step, self._middle * LANES
        pixels = [f"ldr s{row}, [{_PIXELS[row]}, #{channel * _BYTES}]" for row in range(self.rows)]
        lines = []
        for panel in range(panels):
            register = self.rows + panel % self._turns
            offset = (channel * self.columns + panel * LANES - first) * _BYTES
            lines.append(f"ldr q{register}, [{_WEIGHTS[0]}, #{offset}]")
            lines += [
                f"fmla v{self.sums[row * panels + panel]}.4s, v{register}.4s, v{row}.s[0]"
                for row in range(self.rows)
            ]
        return pixels + lines

    @property
    def _turns(self) -> int:
        """Registers that the weights of one channel take turns in."""
        return VECTORS - len(self.sums) - self.rows


@functools.cache
def _round_of(tile: PixelTile) -> Round:
    """The round of tiles that differ in nothing that matters to it: finding its places takes a while."""
    return tile._composed()


def tiles(outputs: int, channels: int, depth: int, columns: Sequence[int], style: str) -> list[PixelTile]:
    """Tiles that can be written out, by about how long `outputs` by `channels` take; there is always one.

    Each is a number of `columns` wide that divides `channels`. In order, the smallest tiles have too few
    multiply-adds for loads by halves.
    """
    found = [
        PixelTile(rows, wide, depth, step, True, each)
        for each in _FITTING.get(style, dict.fromkeys((style, VECTOR)))
        for wide in columns
        if channels % wide == 0
        for rows in range(min(MAX_ROWS, outputs), 0, -1)
        for step in (STEPS if each != PLAIN else (*STEPS, 1))
    ]
    fitting = [tile for tile in found if tile.fits]
    return sorted(
        (tile for tile in fitting if tile.style == fitting[0].style),
        key=lambda tile: -(-outputs // tile.rows) * (channels // tile.columns) * tile.cycles,
    )


def choose(decider: Decider, found: Sequence[PixelTile]) -> PixelTile:
    """One of them, asking for columns, rows and step."""
    for name in ("columns", "rows", "step"):
        chosen = decider.choose(name, list(dict.fromkeys(getattr(tile, name) for tile in found)))
        found = [tile for tile in found if getattr(tile, name) == chosen]
    return found[0]


def llvm_ir(tile: PixelTile) -> str:
    """LLVM IR of `void NAME(sums, data, weights, offsets...)`, which adds to `sums` [rows][columns].

    `weights` point at the tap's in the panel [depth][columns]. Each of `offsets` (i32) is how many elements
    from `data` an output's pixel is, or -1 when it lies beside the image.
    """
    count, registers = len(tile.sums), tile.registers
    machine = registers.machine
    zeros = f"@armature_zeros_{tile.depth}"
    arguments = {registers.rows[row]: f"%a{row}" for row in range(tile.rows)}
    arguments |= {registers.weights: "%w", registers.count: str(max(0, tile.rounds - 1))}
    clobbers = [f"{machine.vector}{register}" for register in range(registers.vectors - count)]
    clobbers += registers.scratch
    starts = "".join(
        f"  %f{at} = getelementptr inbounds <4 x float>, ptr %sums, i64 {at}\n"
        f"  %s{at} = load <4 x float>, ptr %f{at}, align 16\n"
        for at in range(count)
    )
    sums = [f"%s{at}" for at in range(count)]
    call = inline.call(tile.lines(), tile.sums, arguments, clobbers, sums, machine=machine)
    stored = inline.stored(count, len(arguments), machine)
    parameters = "".join(f", i32 %offset{row}" for row in range(tile.rows))
    addresses = "".join(_address(row, tile, zeros) for row in range(tile.rows))
    return (
        f"{machine.header}{zeros} = internal constant [{tile.depth} x float] zeroinitializer, align 16\n"
        f"define void @{tile.name}(ptr %sums, ptr %data, ptr %weights{parameters}) alwaysinline {{\n"
        f"{_guard(tile)}inside:\n{addresses}  %w = ptrtoint ptr %weights to {machine.address}\n"
        f"{starts}{call}{stored}  br label %end\nend:\n  ret void\n}}\n"
    )


def _guard(tile: PixelTile) -> str:
    """Nothing to do when every pixel lies beside the image: then all offsets are -1."""
    if not tile.borders:
        return "  br label %inside\n"
    lines = ["  %all0 = and i32 %offset0, -1"]
    lines += [f"  %all{row} = and i32 %all{row - 1}, %offset{row}" for row in range(1, tile.rows)]
    lines.append(f"  %none = icmp eq i32 %all{tile.rows - 1}, -1")
    return "\n".join(lines) + "\n  br i1 %none, label %end, label %inside\n"


def _address(row: int, tile: PixelTile, zeros: str) -> str:
    address = tile.registers.machine.address
    pixel = f"  %at{row} = getelementptr float, ptr %data, i32 %offset{row}\n"
    if not tile.borders:
        return pixel + f"  %a{row} = ptrtoint ptr %at{row} to {address}\n"
    return pixel + (
        f"  %beside{row} = icmp eq i32 %offset{row}, -1\n"
        f"  %from{row} = select i1 %beside{row}, ptr {zeros}, ptr %at{row}\n"
        f"  %a{row} = ptrtoint ptr %from{row} to {address}\n"
    )
