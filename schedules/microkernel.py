"""A pointwise tile written out, as LLVM IR around assembly: sums that start from the bias, the rounds of
multiply-adds, and as much of the epilogue as is plain.

LLVM does not order loads among multiply-adds as cores that issue in order need, where a vector comes best in
two halves, `ldr d` and `ldr x` + `ins`, each placed where it issues beside something else, while the previous
vectors are being multiplied: how the best kernels for A53 and A55 go (REFERENCE, section 4). On other cores
it spends vector operations on zeroing sums, and more micro-operations on loads and stores than are needed:
by Neoverse N1's guide, `ld1` of four registers is four and `ldr q` with an offset two. How operands are
loaded is the core's `style` (operands.py; docs/pricing.md has the rules).
"""

from __future__ import annotations

from dataclasses import dataclass

from schedules.finish import SUMS_ONLY, Finish
from schedules.inline import HEADER, call, stored
from schedules.kernel import LANES
from schedules.operands import (
    BY_SCALAR,
    BYTES,
    CENTRE,
    INTERLEAVED,
    PAIRED,
    PIXELS,
    PLAIN,
    SCRATCH,
    STEP,
    VECTOR,
    VECTORS,
    WEIGHTS,
    Load,
    Operands,
)
from targets.cores import AARCH64, ARMV7, Core, lineage

__all__ = [
    "BY_SCALAR",
    "INTERLEAVED",
    "PAIRED",
    "PLAIN",
    "STYLES",
    "VECTOR",
    "VECTORS",
    "WRITTEN_OUT",
    "Tile",
    "assembly",
    "llvm_ir",
    "rounds_of",
    "style_of",
    "styles_of",
]

WRITTEN_OUT = (VECTOR, PAIRED, INTERLEAVED)
"""The load styles of AArch64's assembly."""
STYLES = (*WRITTEN_OUT, PLAIN, BY_SCALAR)
"""The load styles, in the order in which decisions number them."""

_STYLE_OF = {"cortex-a53": PAIRED, "cortex-a55": INTERLEAVED, "cortex-a65": VECTOR, "cortex-a510": VECTOR}
"""By core; a core that is not here has that of the first it is like, and out-of-order ones VECTOR."""


def style_of(core: Core) -> str:
    """The load style of `core`."""
    if core.arch != AARCH64:
        return BY_SCALAR if core.arch == ARMV7 else PLAIN
    return next((_STYLE_OF[row.name] for row in lineage(core) if row.name in _STYLE_OF), VECTOR)


def styles_of(core: Core) -> list[int]:
    """The numbers of the load styles to try on `core`, best first: all of them where it issues in order."""
    own = style_of(core)
    if not core.in_order or own not in WRITTEN_OUT:
        return [STYLES.index(own)]
    return [STYLES.index(own), *(at for at, style in enumerate(WRITTEN_OUT) if style != own)]


def rounds_of(style: str) -> tuple[int, ...]:
    """Rounds of a loop's turn, best first: in order, cores wait for the branch's instructions."""
    return ROUNDS if style == VECTOR else ROUNDS[::-1]


MAX_OFFSET = 4095 * 8
"""Bytes that `ldr` of 64 bits reaches from its base (Arm ARM, C6.2: imm12, scaled by 8)."""
_COUNT = "x11"
_BIASES = ("x6", "x7", "x8")
"""Upper halves of biases on their way, which operands' loads must leave alone: a panel has up to three."""
ROUNDS = (1, 2, 4)
"""Numbers of rounds in a loop's turn: more is more code than it saves of time."""


@dataclass(frozen=True)
class Tile:
    """`rows` pixels, `pitch` elements apart, by `columns` outputs, summed over `depth` inputs."""

    rows: int
    columns: int
    depth: int
    pitch: int
    style: str
    rounds: int
    """Of a loop's turn."""
    finish: Finish = SUMS_ONLY

    @property
    def name(self) -> str:
        """The function's name in LLVM IR."""
        size = f"{self.rows}x{self.columns}x{self.depth}"
        return f"armature_tile_{size}_{self.pitch}_{self.style}_{self.rounds}_{self.finish.name}"

    @property
    def operands(self) -> Operands:
        """What it multiplies."""
        return Operands(self.rows, self.columns // LANES, self.pitch, self.style)

    @property
    def sums(self) -> list[list[int]]:
        """The registers of every row's: the highest."""
        panels = self.columns // LANES
        first = VECTORS - self.rows * panels
        return [[first + row * panels + panel for panel in range(panels)] for row in range(self.rows)]

    @property
    def fits(self) -> bool:
        """Whether sums and operands fit the vector registers, and addresses the loads."""
        reach = ((self.rows - 1) * self.pitch + 2 * ROUNDS[-1] * STEP) * BYTES
        return (
            self.columns % LANES == 0
            and self.depth % STEP == 0
            and self.operands.registers <= self.sums[0][0]
            and reach <= MAX_OFFSET
            and self.operands.in_time
        )


def llvm_ir(tile: Tile) -> str:
    """LLVM IR of `void NAME(sums, pixels, weights)`, with `Finish.parameters` in the place of `sums`: results
    go to the output, or to `sums` [rows][columns].

    `pixels` points at [rows] pixels, `weights` at a panel [depth][columns], `bias` at the panel's.
    """
    finish = tile.finish
    sums = [] if finish.stored else [register for row in tile.sums for register in row]
    body, arguments = finish.arguments({PIXELS: "%pixels", WEIGHTS: "%weights"})
    if tile.style == VECTOR:
        body += f"  %centre = add i64 %{PIXELS}, {CENTRE}\n"
        arguments[PIXELS] = "%centre"
    clobbers = [f"v{register}" for register in range(VECTORS) if register not in sums]
    clobbers += [*SCRATCH, *_BIASES, _COUNT]
    body += call(assembly(tile), sums, arguments, clobbers) + stored(len(sums), len(arguments))
    parameters = f"{finish.parameters}, ptr %pixels, ptr %weights"
    return f"{HEADER}define void @{tile.name}({parameters}) alwaysinline {{\n{body}  ret void\n}}\n"


def assembly(tile: Tile) -> list[str]:
    """The instructions, one a line."""
    operands = tile.operands
    multiply_adds = operands.multiply_adds(tile.sums[0][0])
    loads = operands.loads()
    lines = _before([load for load in loads if load.ahead], tile)
    lines += _rounds(multiply_adds, loads, tile)
    return lines + tile.finish.lines(tile.sums, range(operands.registers))


def _rounds(multiply_adds: list[str], loads: list[Load], tile: Tile) -> list[str]:
    """All rounds: first those that fill no turn of the loop, last the one with nothing to load ahead."""
    rounds = tile.depth // STEP - 1
    turns, straight = divmod(rounds, tile.rounds)
    if turns < 2:
        turns, straight = 0, rounds
    lines = [line for at in range(straight) for line in _round(multiply_adds, loads, at)]
    if turns:
        lines += _advanced(tile, straight) if straight else []
        lines += [f"mov {_COUNT}, #{turns}", "1:"]
        lines += [line for at in range(tile.rounds) for line in _round(multiply_adds, loads, at)]
        lines += [f"subs {_COUNT}, {_COUNT}, #1", *_advanced(tile, tile.rounds), "b.ne 1b"]
    last = [load for load in loads if not load.ahead]
    return lines + _round(multiply_adds, last, 0 if turns else straight)


def _advanced(tile: Tile, rounds: int) -> list[str]:
    """What moves the bases on by so many rounds."""
    return [
        f"add {PIXELS}, {PIXELS}, #{rounds * STEP * BYTES}",
        f"add {WEIGHTS}, {WEIGHTS}, #{rounds * STEP * tile.columns * BYTES}",
    ]


def _before(loads: list[Load], tile: Tile) -> list[str]:
    """What the first round needs: the sums' start, and its operands."""
    texts = [load.text(0) for load in loads]
    first, starts = tile.finish.starts(tile.sums, tile.style, _BIASES)
    if tile.finish.bias and tile.style == VECTOR:
        return starts + texts
    return first + _beside(texts, starts)


def _beside(loads: list[str], waiting: list[str]) -> list[str]:
    """Every load beside an instruction that starts a sum."""
    lines: list[str] = []
    late: list[str] = []
    for load in loads:
        if load.startswith("ins"):
            late.append(load)
        else:
            lines += [load, *waiting[:1]]
            waiting = waiting[1:]
        if len(late) > 2:
            lines.append(late.pop(0))
    return lines + waiting + late


def _round(multiply_adds: list[str], loads: list[Load], rounds: int) -> list[str]:
    """A round's instructions, so many rounds after the one that the bases point at."""
    lines: list[str] = []
    for at, multiply_add in enumerate(multiply_adds):
        lines += [load.text(rounds + load.ahead) for load in loads if load.place == at]
        lines.append(multiply_add)
    return lines
