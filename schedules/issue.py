"""The instructions of a depthwise step in the order in which a core would like them."""

from __future__ import annotations

from schedules.finish import BIAS
from schedules.microkernel import PAIRED, VECTOR
from schedules.operands import CENTRE, load_text
from schedules.step import Pixel, Step, first_uses, last_uses, pixel_registers

FIRST_SCRATCH, SCRATCHES = 9, 6  # general registers


class Issue:
    """A step's instructions in the order in which a core that issues two at a time would like them.

    Multiply-adds keep their order; a pixel's loads start when its register is free, in the order of first
    use. Cycles are counted to know what is ready, with the latencies of docs/pricing.md.
    """

    LOADED, COPIED, INSERTED, SUMMED = 4, 3, 3, 4  # cycles: ldr d or q, ldr x, ins, fmla to its own sum
    AHEAD = 4  # pixels under way, at least
    LEAD = 4  # multiply-adds between a load of 128 bits and its use: loads spread out, the core looks ahead

    def __init__(self, step: Step) -> None:
        registers = pixel_registers(step)
        assert registers is not None
        self.step, self.registers = step, registers
        self.waiting = list(first_uses(step))
        self.scratch = {pixel: f"x{FIRST_SCRATCH + at % SCRATCHES}" for at, pixel in enumerate(self.waiting)}
        self.starts = self._starts()
        self.needed = first_uses(step)
        self.at = 0  # multiply-adds issued
        self.cycle = 0
        self.halves: dict[Pixel, int] = {}  # lower half under way, upper one not yet asked for
        self.pending: dict[Pixel, int] = {}  # both under way, and when they are there
        self.ready: dict[Pixel, int] = {}
        self.sums: dict[int, int] = {}
        computed = {column for column, _, _ in step.products}
        self.unstarted = [
            column for column in range(step.columns) if step.finish.bias or column not in computed
        ]

    def _starts(self) -> dict[Pixel, int]:
        """The multiply-adds after which each pixel's register is free."""
        last = last_uses(self.step)
        owner: dict[int, Pixel] = {}
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
        if len(self.halves) + len(self.pending) == SCRATCHES:
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

    def _address(self, pixel: Pixel, part: int) -> str:
        base, offset = self.step.base(pixel)
        return f"[x{self.step.bases.index(base)}, #{offset + part}]"
