"""The pointwise tile's inner loop written out for cores that issue in order, as LLVM IR around assembly.

LLVM loads 128 bits at a time and does not order loads among multiply-adds as these cores need. Here a
vector comes in two halves, `ldr d` and `ldr x` + `ins`, each placed where it issues beside something else,
while the previous vectors are being multiplied: how the best kernels for A53 and A55 go (REFERENCE,
section 4). Which half goes beside what is the core's `style` (docs/pricing.md has the rules).
"""

from __future__ import annotations

from dataclasses import dataclass

from schedules.kernel import LANES
from targets.cores import Core, lineage

STEP = 4
"""Input channels of one round: a pixel's are one vector."""

PAIRED = "paired"
"""A53: `ldr d` never issues beside `fmla`, so it goes beside the `ins` of the vector before it."""
INTERLEAVED = "interleaved"
"""A55: every half goes beside an `fmla`."""
VECTOR = "vector"
"""Any other: LLVM's loop, with loads of 128 bits."""
STYLES = (VECTOR, PAIRED, INTERLEAVED)
"""The load styles, in the order in which decisions number them."""

_STYLE_OF = {"cortex-a53": PAIRED, "cortex-a55": INTERLEAVED, "cortex-a65": VECTOR, "cortex-a510": VECTOR}
"""By core; a core that is not here has that of the first it is like, and out-of-order ones VECTOR."""


def style_of(core: Core) -> str:
    """The load style of `core`."""
    return next((_STYLE_OF[row.name] for row in lineage(core) if row.name in _STYLE_OF), VECTOR)


VECTORS = 32
MAX_OFFSET = 4095 * 8
"""Bytes that `ldr` of 64 bits reaches from its base (Arm ARM, C6.2: imm12, scaled by 8)."""

_BYTES = 4
_PIXELS, _WEIGHTS, _COUNT, _SCRATCH = "x9", "x10", "x11", ("x12", "x13", "x14", "x15", "x16", "x17")
_APART = 3  # multiply-adds between the loads of two vectors, at least: a load's latency is 3 to 4 cycles


@dataclass(frozen=True)
class Tile:
    """`rows` pixels, `pitch` elements apart, by `columns` outputs, summed over `depth` inputs."""

    rows: int
    columns: int
    depth: int
    pitch: int
    style: str

    @property
    def name(self) -> str:
        """The function's name in LLVM IR."""
        return f"armature_tile_{self.rows}x{self.columns}x{self.depth}_{self.pitch}_{self.style}"

    @property
    def fits(self) -> bool:
        """Whether sums and operands fit the vector registers, and addresses the loads."""
        panels = self.columns // LANES
        registers = self.rows * panels + self.rows + STEP * panels
        reach = ((self.rows - 1) * self.pitch + 2 * STEP) * _BYTES
        return (
            registers <= VECTORS
            and reach <= MAX_OFFSET
            and self.columns % LANES == 0
            and self.depth % STEP == 0
            and self._in_time
        )

    @property
    def _in_time(self) -> bool:
        """Whether every vector's loads lie between its register's last use and its next."""
        vectors = _vectors(self)
        slots = _slots(self, vectors, STEP * self.rows * self.columns // LANES)
        return all(
            vector.free <= slot and slot + 1 < vector.needed
            for vector, slot in zip(vectors, slots, strict=True)
        )


def llvm_ir(tile: Tile) -> str:
    """LLVM IR of `void NAME(sums, pixels, weights)`, which fills `sums` [rows][columns].

    `pixels` points at [rows] pixels, `weights` at a panel [depth][columns].
    """
    count = tile.rows * tile.columns // LANES
    results = ", ".join(["<4 x float>"] * count + ["i64"] * 3)
    outputs = [f"={{v{VECTORS - count + at}}}" for at in range(count)]
    outputs += [f"={{{name}}}" for name in (_PIXELS, _WEIGHTS, _COUNT)]
    clobbers = [f"~{{v{at}}}" for at in range(VECTORS - count)] + [f"~{{{name}}}" for name in _SCRATCH]
    tied = [str(count + at) for at in range(3)]
    constraints = ",".join([*outputs, *tied, *clobbers, "~{memory}", "~{cc}"])
    stores = "".join(
        f"  %v{at} = extractvalue {{ {results} }} %r, {at}\n"
        f"  %p{at} = getelementptr inbounds <4 x float>, ptr %sums, i64 {at}\n"
        f"  store <4 x float> %v{at}, ptr %p{at}, align 16\n"
        for at in range(count)
    )
    text = "\\0A".join(assembly(tile))
    rounds = tile.depth // STEP - 1
    return (
        'target triple = "aarch64-unknown-linux-gnu"\n'
        f"define void @{tile.name}(ptr %sums, ptr %pixels, ptr %weights) alwaysinline {{\n"
        "  %a = ptrtoint ptr %pixels to i64\n  %b = ptrtoint ptr %weights to i64\n"
        f'  %r = call {{ {results} }} asm sideeffect "{text}", "{constraints}"'
        f"(i64 %a, i64 %b, i64 {rounds})\n"
        f"{stores}  ret void\n}}\n"
    )


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


def assembly(tile: Tile) -> list[str]:
    """The instructions, one a line; sums end up in the highest registers, row by row."""
    panels = tile.columns // LANES
    sums = tile.rows * panels
    multiply_adds = _multiply_adds(tile)
    loads = _loads(tile, len(multiply_adds))
    zeros = [f"movi v{VECTORS - sums + at}.4s, #0" for at in range(sums)]
    lines = _before(loads, zeros)
    if tile.depth > STEP:
        lines += ["1:", *_round(multiply_adds, loads)]
        lines += [
            f"subs {_COUNT}, {_COUNT}, #1",
            f"add {_PIXELS}, {_PIXELS}, #{STEP * _BYTES}",
            f"add {_WEIGHTS}, {_WEIGHTS}, #{STEP * tile.columns * _BYTES}",
            "b.ne 1b",
        ]
    return lines + _round(multiply_adds, [load for load in loads if not load.ahead])


def _vectors(tile: Tile) -> list[_Vector]:
    """In the order in which their registers become free, from the last quarter of a round on."""
    panels = tile.columns // LANES
    quarter = tile.rows * panels
    length = STEP * quarter
    pixels = [
        _Vector(
            row,
            _PIXELS,
            row * tile.pitch * _BYTES,
            3 * quarter + (row + 1) * panels,
            length + row * panels,
            STEP * _BYTES,
        )
        for row in range(tile.rows)
    ]
    weights = [
        _Vector(
            tile.rows + k * panels + panel,
            _WEIGHTS,
            (k * tile.columns + panel * LANES) * _BYTES,
            (k + 1) * quarter,
            length + k * quarter + panel,
            STEP * tile.columns * _BYTES,
        )
        for k in (2, 3, 0, 1)
        for panel in range(panels)
    ]
    return pixels + weights


def _multiply_adds(tile: Tile) -> list[str]:
    panels = tile.columns // LANES
    first = VECTORS - tile.rows * panels
    return [
        f"fmla v{first + row * panels + panel}.4s, v{tile.rows + k * panels + panel}.4s, v{row}.s[{k}]"
        for k in range(STEP)
        for row in range(tile.rows)
        for panel in range(panels)
    ]


def _slots(tile: Tile, vectors: list[_Vector], length: int) -> list[int]:
    """The multiply-add before which each vector is loaded, counted from the start of the round that frees
    its register: pixels closely, since they are read within a quarter, then weights spread out.
    """
    start = 3 * length // 4 + tile.columns // LANES
    tight = [start + row * _APART for row in range(tile.rows)]
    rest, end = len(vectors) - tile.rows, tight[-1] + _APART
    spread = [end + at * (start + length - end) // rest for at in range(rest)]
    return [
        vector.free + (slot - vector.free) % length
        for vector, slot in zip(vectors, tight + spread, strict=True)
    ]


@dataclass(frozen=True)
class _Load:
    """One of the three instructions that fill a vector."""

    place: int
    """The multiply-add of the round before which it goes."""
    ahead: bool
    """Whether it loads what the next round needs, and so goes before the first one too."""
    first: str
    """Its text before the first round."""
    text: str
    """Its text in a round."""


def _loads(tile: Tile, length: int) -> list[_Load]:
    """All of a round's, in the order of their vectors."""
    vectors = _vectors(tile)
    slots = _slots(tile, vectors, length)
    taken = {place % length for slot in slots for place in (slot, slot + 1)}
    ordered = sorted(zip(slots, vectors, strict=True), key=lambda pair: pair[0] % length)
    # Taken in turn, also from one round to the next: at least three apart.
    turn = next(count for count in (4, 5, 6) if len(vectors) % count in (0, 3, 4, 5))
    loads = []
    for at, (slot, vector) in enumerate(ordered):
        scratch = _SCRATCH[at % turn]
        if tile.style == PAIRED:
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
            ahead = place < length
            offset = vector.offset + part
            loads.append(
                _Load(place % length, ahead, text.format(offset), text.format(offset + vector.pitch * ahead))
            )
    return loads


def _before(loads: list[_Load], zeros: list[str]) -> list[str]:
    """What the first round needs: every load beside an instruction that sets a sum to zero."""
    lines: list[str] = []
    late: list[str] = []
    waiting = list(zeros)
    for load in loads:
        if not load.ahead:
            continue
        if load.first.startswith("ins"):
            late.append(load.first)
        else:
            lines.append(load.first)
            lines += (waiting if waiting else [])[:1]
            waiting = waiting[1:]
        if len(late) > 2:
            lines.append(late.pop(0))
    return lines + waiting + late


def _round(multiply_adds: list[str], loads: list[_Load]) -> list[str]:
    lines: list[str] = []
    for at, multiply_add in enumerate(multiply_adds):
        lines += [load.text for load in loads if load.place == at]
        lines.append(multiply_add)
    return lines
