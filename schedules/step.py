"""A depthwise step: a few neighbouring outputs of a row by four channels, and the registers that it takes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from schedules.finish import SUMS_ONLY, Finish
from schedules.microkernel import VECTOR, VECTORS

MAX_TAPS = 9
"""Filters of more taps do not stay in registers: their weights are loaded for every step."""
MAX_BASES = 7
"""Address registers for pixels where weights have two."""
WEIGHTS = ("x7", "x8")
"""The address registers of weights: of the window's even rows, and of its odd ones."""

_BYTES = 4
_KEPT = 2
"""Registers left to an epilogue that LLVM makes: two limits."""
REACH = 32512
"""Bytes from one base register: a multiple of 128 within what `ldr` of 64 bits reaches (Arm ARM, C6.2)."""


Pixel = tuple[int, int]
"""Row of the window, and column counted from the first output's leftmost tap."""
Operand = Pixel | int
"""What is loaded: a pixel, or by its number a tap's weights."""


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
    finish: Finish = SUMS_ONLY

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
    def products(self) -> list[tuple[int, int, Pixel]]:
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
    def streams(self) -> bool:
        """Whether weights are loaded as pixels are."""
        return not self.kept_taps

    @property
    def kept_taps(self) -> int:
        """Taps whose weights are in registers from the start."""
        return kept_taps(self.kernel)

    @property
    def bias(self) -> int | None:
        """The register of the bias, where sums start as copies of it: out-of-order cores load it for each."""
        return self.kept_taps if self.finish.bias and self.style != VECTOR else None

    @property
    def first_sum(self) -> int:
        """The register of the first output's sum; filter and bias are below."""
        return self.kept_taps + (self.bias is not None)

    @property
    def temporaries(self) -> range:
        """The registers of what is loaded."""
        kept = 0 if self.finish.stored else _KEPT
        return range(self.first_sum + self.columns, VECTORS - kept)

    @property
    def fits(self) -> bool:
        """Whether what is alive at once finds registers, and loads reach it."""
        if self.streams and (len(self.bases) > MAX_BASES or self.weights_row > REACH):
            return False
        return registers(self) is not None

    @cached_property
    def bases(self) -> list[tuple[int, int]]:
        """The row, and the part of it, that each base register points at: x0 and up."""
        return sorted({self.base(pixel)[0] for _, _, pixel in self.products})

    @property
    def weights_row(self) -> int:
        """Bytes from a row of the window's weights to the next."""
        return self.kernel[1] * self.pitch * _BYTES

    def base(self, pixel: Pixel) -> tuple[tuple[int, int], int]:
        """The base register of a pixel, by (row, part of the row), and its offset in bytes."""
        offset = (pixel[1] - self.pixels[0]) * self.pitch * _BYTES
        return (pixel[0] - self.taps[0], offset // REACH), offset % REACH


def kept_taps(kernel: tuple[int, int]) -> int:
    """Taps of a filter whose weights stay in registers from step to step: all, or none."""
    taps = kernel[0] * kernel[1]
    return taps if taps <= MAX_TAPS else 0


def last_uses(step: Step) -> dict[Operand, int]:
    """The multiply-add that reads each operand last."""
    return {operand: at for at, operands in enumerate(_operands(step)) for operand in operands}


def first_uses(step: Step) -> dict[Operand, int]:
    """The multiply-add that reads each operand first, in this order."""
    found: dict[Operand, int] = {}
    for at, operands in enumerate(_operands(step)):
        for operand in operands:
            found.setdefault(operand, at)
    return found


def _operands(step: Step) -> Iterator[tuple[Operand, ...]]:
    """What each multiply-add reads that has to be loaded."""
    for _, tap, pixel in step.products:
        yield (tap, pixel) if step.streams else (pixel,)


def registers(step: Step) -> dict[Operand, int] | None:
    """A register for each operand: that which has been free the longest; None when there are too few."""
    last = last_uses(step)
    free_from = dict.fromkeys(step.temporaries, -1)
    first = first_uses(step)
    found = {}
    for operand in first:
        register = min(free_from, key=lambda each: free_from[each], default=None)
        if register is None or free_from[register] >= first[operand]:
            return None
        found[operand] = register
        free_from[register] = last[operand]
    return found
