"""The instructions of a depthwise step in the order in which a core would like them."""

from __future__ import annotations

from schedules.finish import BIAS
from schedules.microkernel import PAIRED, VECTOR
from schedules.operands import BYTES, CENTRE
from schedules.rounds import Address, add
from schedules.step import WEIGHTS, Operand, Step, first_uses, last_uses, registers

FIRST_SCRATCH, SCRATCHES = 9, 6  # general registers


class Issue:
    """A step's instructions in the order in which a core that issues two at a time would like them.

    Multiply-adds keep their order; an operand's loads start when its register is free, in the order of
    first use. Cycles are counted to know what is ready, with the latencies of docs/pricing.md.
    """

    LOADED, COPIED, INSERTED, SUMMED = 4, 3, 3, 4  # cycles: ldr d or q, ldr x, ins, fmla to its own sum
    AHEAD = 4  # operands under way, at least
    LEAD = 4  # multiply-adds between a load of 128 bits and its use: loads spread out, the core looks ahead

    def __init__(self, step: Step) -> None:
        found = registers(step)
        assert found is not None
        self.step, self.registers = step, found
        self.waiting = list(first_uses(step))
        self.scratch = {each: f"x{FIRST_SCRATCH + at % SCRATCHES}" for at, each in enumerate(self.waiting)}
        self.starts = self._starts()
        self.needed = first_uses(step)
        self.at = 0  # multiply-adds issued
        self.cycle = 0
        self.halves: dict[Operand, int] = {}  # lower half under way, upper one not yet asked for
        self.pending: dict[Operand, int] = {}  # both under way, and when they are there
        self.ready: dict[Operand, int] = {}
        self.sums: dict[int, int] = {}
        computed = {column for column, _, _ in step.products}
        self.rows = {base: row for row, base in enumerate(WEIGHTS)}  # that each address register points at
        self.unstarted = [
            column for column in range(step.columns) if step.finish.bias or column not in computed
        ]

    def _starts(self) -> dict[Operand, int]:
        """The multiply-adds after which each operand's register is free."""
        last = last_uses(self.step)
        owner: dict[int, Operand] = {}
        starts = {}
        for operand in self.waiting:
            before = owner.get(self.registers[operand])
            starts[operand] = 0 if before is None else last[before] + 1
            owner[self.registers[operand]] = operand
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
        soon = self.step.products[self.at : self.at + 2 * self.step.columns]
        needed = {operand for _, tap, pixel in soon for operand in (tap, pixel)}
        under_way = len(self.halves) + len(self.pending)
        if under_way == 0:
            return any(operand in self.waiting for operand in needed)
        return under_way < self.AHEAD and not self._can_multiply()

    def _can_multiply(self) -> bool:
        column, tap, pixel = self.step.products[self.at]
        is_started = column not in self.unstarted and self.sums.get(column, 0) <= self.cycle
        operands = (tap, pixel) if self.step.streams else (pixel,)
        return is_started and all(self.ready.get(each, self.cycle + 1) <= self.cycle for each in operands)

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
        weights = self.registers[tap] if self.step.streams else tap
        return [f"{operation} v{target}.4s, v{self.registers[pixel]}.4s, v{weights}.4s"]

    def _load(self) -> list[str]:
        """The next operand, or the lower half of it."""
        if not self.waiting or self.starts[self.waiting[0]] > self.at:
            return []
        if self.step.style == VECTOR and self.needed[self.waiting[0]] > self.at + self.LEAD:
            return []
        if len(self.halves) + len(self.pending) == SCRATCHES:
            return []
        if not self._can_turn(self.waiting[0]):
            return []
        operand = self.waiting.pop(0)
        moved = self._turned(operand)
        if self.step.style == VECTOR:
            self.ready[operand] = self.cycle  # an out-of-order core waits by itself
            return [*moved, *self._fetched(operand, f"q{self.registers[operand]}", 16)]
        self.halves[operand] = self.cycle + self.LOADED
        return [*moved, *self._fetched(operand, f"d{self.registers[operand]}", 8)]

    def _upper(self) -> list[str]:
        if not self.halves:
            return []
        operand = next(iter(self.halves))
        self.pending[operand] = max(self.halves.pop(operand), self.cycle + self.COPIED)
        return self._fetched(operand, self.scratch[operand], 8, 8)

    def _insertable(self) -> bool:
        return any(there <= self.cycle for there in self.pending.values())

    def _insert(self) -> list[str]:
        operand = next(iter(self.pending), None)
        if operand is None or self.pending[operand] > self.cycle:
            return []
        del self.pending[operand]
        self.ready[operand] = self.cycle + self.INSERTED
        return [f"ins v{self.registers[operand]}.d[1], {self.scratch[operand]}"]

    def _fetched(self, operand: Operand, target: str, size: int, part: int = 0) -> list[str]:
        """A load of `size` bytes of an operand, `part` bytes on; where all of it is not in reach, its address
        is made first.
        """
        address = self._address(operand)
        loads = [address.load(target, size, each) for each in range(0, 16, size)]
        if None not in loads:
            return [str(loads[part // size])]
        near = self.scratch[operand]
        before = [] if part else add(near, address.base, address.offset)
        return [*before, f"ldr {target}, [{near}, #{part}]"]

    def _address(self, operand: Operand) -> Address:
        if isinstance(operand, int):
            offset = operand % self.step.kernel[1] * self.step.pitch * BYTES
            return Address(self._base_of(operand), offset)
        base, offset = self.step.base(operand)
        return Address(f"x{self.step.bases.index(base)}", offset - CENTRE * (self.step.style == VECTOR))

    def _base_of(self, tap: int) -> str:
        return WEIGHTS[self._row_of(tap) % 2]

    def _row_of(self, tap: int) -> int:
        """The row of a tap, of those inside."""
        return tap // self.step.kernel[1] - self.step.taps[0]

    def _can_turn(self, operand: Operand) -> bool:
        """Whether nothing waits for an address register that has to be moved on."""
        if not isinstance(operand, int) or self.rows[self._base_of(operand)] == self._row_of(operand):
            return True
        base = self._base_of(operand)
        return not any(isinstance(each, int) and self._base_of(each) == base for each in self.halves)

    def _turned(self, operand: Operand) -> list[str]:
        """What moves the address register of a tap's weights to its row."""
        if not isinstance(operand, int):
            return []
        base, row = self._base_of(operand), self._row_of(operand)
        rows, self.rows[base] = row - self.rows[base], row
        return add(base, base, rows * self.step.weights_row) if rows else []
