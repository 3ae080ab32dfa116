"""The depthwise step written out: a few outputs of a row by four channels, as LLVM IR around assembly.

LLVM merges what border and interior steps have in common into small blocks with branches between them, and
loads 128 bits at a time. Here every kind of step is straight code: the taps that lie outside are left out,
filters stay in registers between steps, and loads go among the multiply-adds in the core's `style`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from schedules.finish import BIAS, Finish
from schedules.inline import HEADER, call, stored
from schedules.microkernel import PAIRED, VECTOR, VECTORS
from schedules.operands import CENTRE, load_text

MAX_TAPS = 9
"""Filters of more taps do not stay in registers."""

LOAD = "armature_load"
"""The function that loads four channels of a tap."""
_BYTES = 4
_KEPT = 2
"""Registers left to an epilogue that LLVM makes: two limits."""
_REACH = 32512
"""Bytes from one base register: a multiple of 128 within what `ldr` of 64 bits reaches (Arm ARM, C6.2)."""
_FIRST_SCRATCH, _SCRATCHES = 9, 6  # general registers


@dataclass(frozen=True)
class Step:
    """`columns` neighbouring outputs of a row, and which of their window lies inside the image."""

    columns: int
    kernel: tuple[int, int]
    stride: int
    dilation: int
    taps: tuple[int, int]
    """The window's rows inside: first, and one after the last."""
    pixels: tuple[int, int]
    """Columns inside, counted from the first output's leftmost tap: first, and one after the last."""
    pitch: int
    """Elements from a pixel to the next."""
    style: str
    finish: Finish = Finish()

    @property
    def name(self) -> str:
        """The function's name in LLVM IR."""
        parts = (
            self.columns,
            *self.kernel,
            self.stride,
            self.dilation,
            *self.taps,
            *self.pixels,
            self.pitch,
        )
        return f"armature_step_{'_'.join(map(str, parts))}_{self.style}_{self.finish.name}"

    @cached_property
    def products(self) -> list[tuple[int, int, tuple[int, int]]]:
        """(output, tap, pixel) of every multiply-add, ordered so that an output's are far apart."""
        height, width = self.kernel
        found = []
        for r in range(max(0, self.taps[0]), min(height, self.taps[1])):
            for s in range(width):
                for column in range(self.columns):
                    pixel = column * self.stride + s * self.dilation
                    if self.pixels[0] <= pixel < self.pixels[1]:
                        found.append((column, r * width + s, (r, pixel)))
        return found

    @property
    def bias(self) -> int | None:
        """The register of the bias, where sums start as copies of it: out-of-order cores load it for each."""
        return self.kernel[0] * self.kernel[1] if self.finish.bias and self.style != VECTOR else None

    @property
    def first_sum(self) -> int:
        """The register of the first output's sum; filter and bias are below."""
        return self.kernel[0] * self.kernel[1] + (self.bias is not None)

    @property
    def temporaries(self) -> range:
        """The registers of pixels."""
        kept = 0 if self.finish.stored else _KEPT
        return range(self.first_sum + self.columns, VECTORS - kept)

    @property
    def fits(self) -> bool:
        """Whether the pixels that are alive at once find registers."""
        return self.kernel[0] * self.kernel[1] <= MAX_TAPS and _registers(self) is not None

    @cached_property
    def bases(self) -> list[tuple[int, int]]:
        """The row, and the part of it, that each base register points at: x0 and up."""
        return sorted({self.base(pixel)[0] for _, _, pixel in self.products})

    def base(self, pixel: tuple[int, int]) -> tuple[tuple[int, int], int]:
        """The base register of a pixel, by (row, part of the row), and its offset in bytes."""
        offset = (pixel[1] - self.pixels[0]) * self.pitch * _BYTES
        return (pixel[0] - self.taps[0], offset // _REACH), offset % _REACH


def llvm_ir(step: Step) -> str:
    """LLVM IR of `void NAME(sums, rows..., kept...)`, with `Finish.parameters` in the place of `sums`: results
    go to the output, or to `sums` [columns][LANES].

    Each of `rows`, one per row of the window that is inside the image, points at its first pixel inside.
    `kept` are vectors: four channels of each tap of the filter, and the bias if `Step.bias` has a register.
    """
    finish = step.finish
    rows = {f"x{at}": f"%row{row}" for at, (row, _) in enumerate(step.bases)}
    body, arguments = finish.arguments(rows)
    arguments = {register: value for register, value in arguments.items() if register != BIAS or not step.bias}
    for at, (_, part) in enumerate(step.bases):
        moved = part * _REACH + CENTRE * (step.style == VECTOR)
        body += f"  %b{at} = add i64 %x{at}, {moved}\n"
        arguments[f"x{at}"] = f"%b{at}"
    sums = [] if finish.stored else list(range(step.first_sum, step.first_sum + step.columns))
    used = range(step.first_sum, step.temporaries.stop)
    clobbers = [f"v{register}" for register in used if register not in sums]
    clobbers += [f"x{_FIRST_SCRATCH + at}" for at in range(_SCRATCHES)]
    kept = [f"%kept{at}" for at in range(step.first_sum)]
    body += call(assembly(step), sums, arguments, clobbers, kept=kept) + stored(len(sums), len(arguments))
    parameters = [finish.parameters, *(f"ptr %row{row}" for row in range(step.taps[1] - step.taps[0]))]
    parameters += [f"<4 x float> {name}" for name in kept]
    return (
        f"{HEADER}define void @{step.name}({', '.join(parameters)}) alwaysinline {{\n{body}  ret void\n}}\n"
        f"define <4 x float> @{LOAD}(ptr %at) alwaysinline {{\n"
        "  %value = load <4 x float>, ptr %at, align 16\n  ret <4 x float> %value\n}\n"
    )


def assembly(step: Step) -> list[str]:
    """The instructions, one a line: filter in v0 and up, then the bias, sums, pixels."""
    lines = _Issue(step).lines()
    sums = [[step.first_sum + column] for column in range(step.columns)]
    return lines + step.finish.lines(sums, step.temporaries)


def _last_uses(step: Step) -> dict[tuple[int, int], int]:
    return {pixel: at for at, (_, _, pixel) in enumerate(step.products)}


def _order(step: Step) -> list[tuple[int, int]]:
    """Pixels in the order of their first use."""
    return list(dict.fromkeys(pixel for _, _, pixel in step.products))


def _registers(step: Step) -> dict[tuple[int, int], int] | None:
    """A register for each pixel: that which has been free the longest; None when there are too few."""
    last = _last_uses(step)
    free_from = {register: -1 for register in step.temporaries}
    first: dict[tuple[int, int], int] = {}
    for at, (_, _, pixel) in enumerate(step.products):
        first.setdefault(pixel, at)
    found = {}
    for pixel in _order(step):
        register = min(free_from, key=lambda each: free_from[each], default=None)
        if register is None or free_from[register] >= first[pixel]:
            return None
        found[pixel] = register
        free_from[register] = last[pixel]
    return found


class _Issue:
    """A step's instructions in the order in which a core that issues two at a time would like them.

    Multiply-adds keep their order; a pixel's loads start when its register is free, in the order of first
    use. Cycles are counted to know what is ready, with the latencies of docs/pricing.md.
    """

    LOADED, COPIED, INSERTED, SUMMED = 4, 3, 3, 4  # cycles: ldr d or q, ldr x, ins, fmla to its own sum
    AHEAD = 4  # pixels under way, at least
    LEAD = 4  # multiply-adds between a load of 128 bits and its use: loads spread out, the core looks ahead

    def __init__(self, step: Step) -> None:
        registers = _registers(step)
        assert registers is not None
        self.step, self.registers = step, registers
        self.waiting = _order(step)
        self.scratch = {
            pixel: f"x{_FIRST_SCRATCH + at % _SCRATCHES}" for at, pixel in enumerate(self.waiting)
        }
        self.starts = self._starts()
        self.needed: dict[tuple[int, int], int] = {}
        for at, (_, _, pixel) in enumerate(step.products):
            self.needed.setdefault(pixel, at)
        self.at = 0  # multiply-adds issued
        self.cycle = 0
        self.halves: dict[tuple[int, int], int] = {}  # lower half under way, upper one not yet asked for
        self.pending: dict[tuple[int, int], int] = {}  # both under way, and when they are there
        self.ready: dict[tuple[int, int], int] = {}
        self.sums: dict[int, int] = {}
        computed = {column for column, _, _ in step.products}
        self.unstarted = [
            column for column in range(step.columns) if step.finish.bias or column not in computed
        ]

    def _starts(self) -> dict[tuple[int, int], int]:
        """The multiply-adds after which each pixel's register is free."""
        last = _last_uses(self.step)
        owner: dict[int, tuple[int, int]] = {}
        starts = {}
        for pixel in self.waiting:
            before = owner.get(self.registers[pixel])
            starts[pixel] = 0 if before is None else last[before] + 1
            owner[self.registers[pixel]] = pixel
        return starts

    def lines(self) -> list[str]:
        """All of them."""
        found: list[str] = []
        while self.step.style == VECTOR and self.unstarted:
            found += self._start()
        while self.at < len(self.step.products) or self.unstarted:
            found += self._one_cycle()
            self.cycle += 1
        return found

    def _one_cycle(self) -> list[str]:
        if self.step.style == PAIRED:
            loads = self._load() if self._insertable() or self._behind() else []
            if loads:
                return loads + (self._insert() or self._start())
            product = self._multiply() or self._start()
            return product + self._upper() or self._load() + self._insert() or self._upper()
        product = self._multiply() or self._start()
        other = self._insert() or self._upper() or self._load()
        if not product and other and other[0].startswith("ins"):
            return other + (self._upper() or self._load())
        return product + other

    def _behind(self) -> bool:
        needed = {pixel for _, _, pixel in self.step.products[self.at : self.at + 2 * self.step.columns]}
        under_way = len(self.halves) + len(self.pending)
        if under_way == 0:
            return any(pixel in self.waiting for pixel in needed)
        return under_way < self.AHEAD and not self._can_multiply()

    def _can_multiply(self) -> bool:
        column, _, pixel = self.step.products[self.at]
        is_started = column not in self.unstarted and self.sums.get(column, 0) <= self.cycle
        return is_started and self.ready.get(pixel, self.cycle + 1) <= self.cycle

    def _start(self) -> list[str]:
        """The next sum's start, before its first product."""
        if not self.unstarted:
            return []
        column = self.unstarted.pop(0)
        target = self.step.first_sum + column
        self.sums[column] = self.cycle + self.COPIED
        if not self.step.finish.bias:
            return [f"movi v{target}.4s, #0"]
        if self.step.bias is None:
            return [f"ldur q{target}, [{BIAS}]"]
        return [f"mov v{target}.16b, v{self.step.bias}.16b"]

    def _multiply(self) -> list[str]:
        if self.at == len(self.step.products) or not self._can_multiply():
            return []
        column, tap, pixel = self.step.products[self.at]
        operation = "fmla" if column in self.sums else "fmul"
        self.at += 1
        self.sums[column] = self.cycle + self.SUMMED
        target = self.step.first_sum + column
        return [f"{operation} v{target}.4s, v{self.registers[pixel]}.4s, v{tap}.4s"]

    def _load(self) -> list[str]:
        """The next pixel, or the lower half of it."""
        if not self.waiting or self.starts[self.waiting[0]] > self.at:
            return []
        if self.step.style == VECTOR and self.needed[self.waiting[0]] > self.at + self.LEAD:
            return []
        if len(self.halves) + len(self.pending) == _SCRATCHES:
            return []
        pixel = self.waiting.pop(0)
        if self.step.style == VECTOR:
            self.ready[pixel] = self.cycle  # an out-of-order core waits by itself
            base, offset = self.step.base(pixel)
            template = f"ldr q{self.registers[pixel]}, [x{self.step.bases.index(base)}, #{{}}]"
            return [load_text(template, offset - CENTRE)]
        self.halves[pixel] = self.cycle + self.LOADED
        return [f"ldr d{self.registers[pixel]}, {self._address(pixel, 0)}"]

    def _upper(self) -> list[str]:
        if not self.halves:
            return []
        pixel = next(iter(self.halves))
        self.pending[pixel] = max(self.halves.pop(pixel), self.cycle + self.COPIED)
        return [f"ldr {self.scratch[pixel]}, {self._address(pixel, 8)}"]

    def _insertable(self) -> bool:
        return any(there <= self.cycle for there in self.pending.values())

    def _insert(self) -> list[str]:
        pixel = next(iter(self.pending), None)
        if pixel is None or self.pending[pixel] > self.cycle:
            return []
        del self.pending[pixel]
        self.ready[pixel] = self.cycle + self.INSERTED
        return [f"ins v{self.registers[pixel]}.d[1], {self.scratch[pixel]}"]

    def _address(self, pixel: tuple[int, int], part: int) -> str:
        base, offset = self.step.base(pixel)
        return f"[x{self.step.bases.index(base)}, #{offset + part}]"
