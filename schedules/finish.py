"""What a written-out loop does with its sums besides adding products: where they start, and what follows."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from schedules.operands import VECTOR, load_text

BIAS, OUTPUT, OTHER, PITCH, OTHER_PITCH = "x20", "x21", "x22", "x23", "x24"
"""The general registers that hold the addresses of a panel's biases, of the output, and of what is added to
it, and the bytes from an output pixel to the next, and from what is added to one to the next: either may be
some channels of a wider tensor (compile/passes/columns.py).
"""
ADD, MAX, MIN = "fadd", "smax", "smin"
_LAG = 2  # pixels between one operation and the next: more cycles than an operation's latency


@dataclass(frozen=True)
class Finish:
    """The part of a kernel's epilogue that its inner loop does."""

    bias: bool = False
    """Whether sums start from the bias, not from zero."""
    operations: tuple[tuple[str, int], ...] = ()
    """In order: MAX or MIN and the bits of a bound from zero up (clamp.py), or ADD and 0: another tensor."""
    stored: bool = False
    """Whether results go to the output; otherwise sums go to a tile's buffer."""

    @property
    def name(self) -> str:
        """For the name of a function."""
        done = "".join(f"_{operation}{bound:x}" for operation, bound in self.operations)
        return f"{'bias' if self.bias else 'zero'}{done}_{'out' if self.stored else 'sums'}"

    @property
    def adds(self) -> bool:
        """Whether another tensor is added."""
        return any(operation == ADD for operation, _ in self.operations)

    @property
    def parameters(self) -> str:
        """Of a function: `%sums` (of the first pixel), and as far as they are wanted `%next` (the second
        pixel's output), `%bias`, and `%other` and `%other_next`.
        """
        wanted = {
            "%sums": True,
            "%next": self.stored,
            "%bias": self.bias,
            "%other": self.stored and self.adds,
            "%other_next": self.stored and self.adds,
        }
        return ", ".join(f"ptr {name}" for name, is_wanted in wanted.items() if is_wanted)

    def arguments(self, pointers: Mapping[str, str]) -> tuple[str, dict[str, str]]:
        """LLVM IR that makes integers of the parameters and of more `pointers` (by the register that each
        comes in), and the integers by register.
        """
        wanted = {
            **pointers,
            **({BIAS: "%bias"} if self.bias else {}),
            **({OUTPUT: "%sums", PITCH: "%next"} if self.stored else {}),
            **({OTHER: "%other", OTHER_PITCH: "%other_next"} if self.stored and self.adds else {}),
        }
        lines = [f"  %{register} = ptrtoint ptr {name} to i64\n" for register, name in wanted.items()]
        found = {register: f"%{register}" for register in wanted}
        for pitch, base in ((PITCH, OUTPUT), (OTHER_PITCH, OTHER)):
            if pitch in wanted:
                lines.append(f"  %{pitch}_bytes = sub i64 %{pitch}, %{base}\n")
                found[pitch] = f"%{pitch}_bytes"
        return "".join(lines), found

    def starts(
        self, pixels: Sequence[Sequence[int]], style: str, scratch: Sequence[str]
    ) -> tuple[list[str], list[str]]:
        """What sets the sums before the first product: what comes first of all, and what may go beside loads.

        A core that issues in order loads the bias by halves, through general registers in `scratch`, and
        copies it; others load it for every pixel.
        """
        first, *others = pixels
        if not self.bias:
            return [], [f"movi v{register}.4s, #0" for sums in pixels for register in sums]
        if style == VECTOR:
            places = [(register, 16 * panel) for sums in pixels for panel, register in enumerate(sums)]
            return [], [load_text(f"ldr q{register}, [{BIAS}, #{{}}]", offset) for register, offset in places]
        halves = list(zip(first, scratch, strict=False))
        loads = [
            line
            for panel, (register, upper) in enumerate(halves)
            for line in (
                f"ldr d{register}, [{BIAS}, #{16 * panel}]",
                f"ldr {upper}, [{BIAS}, #{16 * panel + 8}]",
            )
        ]
        inserts = [f"ins v{register}.d[1], {upper}" for register, upper in halves]
        copies = [
            f"mov v{register}.16b, v{source}.16b"
            for sums in others
            for register, source in zip(sums, first, strict=True)
        ]
        return loads, inserts + copies

    def lines(self, pixels: Sequence[Sequence[int]], free: Sequence[int]) -> list[str]:
        """The instructions after the last product. `pixels` are the registers of each one's sums, one after
        the other; those in `free` may be overwritten.
        """
        if not self.stored:
            return []
        unused = iter(free)
        bounds = {bound: next(unused) for operation, bound in self.operations if operation != ADD}
        found = [line for bound, register in bounds.items() for line in constant(bound, register)]
        stages: list[_Stage] = []
        for operation, bound in self.operations:
            operands = (
                [[bounds[bound]] * len(pixels[0])]
                if operation != ADD
                else [[next(unused) for _ in pixels[0]] for _ in range(_LAG + 1)]
            )
            if operation == ADD:
                stages.append(partial(_moved, "ld1", operands, OTHER, OTHER_PITCH))
            stages.append(partial(_done, operation, pixels, operands))
        stages.append(partial(_moved, "st1", pixels, OUTPUT, PITCH))
        return found + [
            line for stage, at in _staggered(len(stages), len(pixels)) for line in stages[stage](at)
        ]


_Registers = Sequence[Sequence[int]]
_Stage = Callable[[int], list[str]]
"""The instructions for the pixel of a number."""


def _moved(instruction: str, registers: _Registers, base: str, pitch: str, pixel: int) -> list[str]:
    vectors = ", ".join(f"v{register}.4s" for register in registers[pixel % len(registers)])
    return [f"{instruction} {{{vectors}}}, [{base}], {pitch}"]


def _done(operation: str, pixels: _Registers, operands: _Registers, pixel: int) -> list[str]:
    pairs = zip(pixels[pixel], operands[pixel % len(operands)], strict=True)
    return [f"{operation} v{one}.4s, v{one}.4s, v{other}.4s" for one, other in pairs]


def _staggered(stages: int, pixels: int) -> Iterator[tuple[int, int]]:
    """(Stage, pixel): a pixel's next stage is _LAG pixels behind."""
    for start in range(pixels + _LAG * (stages - 1)):
        for stage in range(stages):
            if 0 <= start - _LAG * stage < pixels:
                yield stage, start - _LAG * stage


SUMS_ONLY = Finish()
"""All of an epilogue is left to LLVM."""


def constant(bits: int, register: int) -> list[str]:
    """Instructions that set the lanes of a vector register to the float32 of these bits."""
    if bits == 0:
        return [f"movi v{register}.4s, #0"]
    if bits & 0x7FFFF == 0 and (bits >> 25) & 0x3F in (0x20, 0x1F):
        return [f"fmov v{register}.4s, #{struct.unpack('<f', struct.pack('<i', bits))[0]}"]
    low, high = bits & 0xFFFF, bits >> 16
    return [f"mov w12, #{low}", f"movk w12, #{high}, lsl #16", f"dup v{register}.4s, w12"]
