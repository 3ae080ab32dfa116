"""The stem's step written out: a few outputs of a row by a panel of channels, from an image in planes.

In a plane (NCHW) the pixels of a row are neighbours, so a few vectors hold all that the outputs need of
them, and every multiply-add takes its pixel out of a vector, by element. A round is a row of the window
in every input channel. Taps that lie beside the image are left out, and nothing outside is loaded.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

from schedules import inline
from schedules.finish import SUMS_ONLY, Finish
from schedules.frame import Frame
from schedules.kernel import CHANNEL_MULTIPLE, LANES
from schedules.microkernel import VECTORS
from schedules.rounds import LEAST_LEAD, Address, Product, Round, Vector, add

MAX_INPUTS = 4
"""Input channels: each has two address registers."""

_BYTES = 4
_HERE, _AHEAD = ("x0", "x1", "x2", "x3"), ("x4", "x5", "x6", "x7")
_WEIGHTS, _COUNT = "x8", "x9"
_SCRATCH, _BIASES = ("x10", "x11", "x12", "x13", "x14", "x15"), ("x16", "x17")


@dataclass(frozen=True)
class ImageStep:
    """`columns` neighbouring outputs of a row by `channels`, summed over `inputs` planes."""

    columns: int
    channels: int
    inputs: int
    width: int
    """Of the window."""
    stride: int
    dilation: int
    pixels: tuple[int, int]
    """Columns inside the image, counted from the first output's leftmost tap: first, one after the last."""
    pitch: int
    """Elements from a row that the window sees to the next."""
    style: str
    finish: Finish = SUMS_ONLY

    @property
    def name(self) -> str:
        """The function's name in LLVM IR."""
        numbers = (
            self.columns, self.channels, self.inputs, self.width, self.stride, self.dilation, *self.pixels,
            self.pitch,
        )  # fmt: skip
        return f"armature_image_{'_'.join(map(str, numbers))}_{self.style}_{self.finish.name}"

    @property
    def fits(self) -> bool:
        """Whether sums and operands fit the vector registers, and addresses the loads."""
        return self.inputs <= MAX_INPUTS and self.channels % LANES == 0 and self._round is not None

    @property
    def cycles(self) -> int:
        """About what a row of the window takes, in all planes."""
        assert self._round is not None
        return self._round.cycles

    @property
    def first_pixel(self) -> int:
        """The first column that is read, counted as `pixels` are."""
        return self._span[0]

    @property
    def panels(self) -> int:
        """Vectors of output channels."""
        return self.channels // LANES

    @property
    def sums(self) -> range:
        """The vector registers of the sums, output by output."""
        return range(VECTORS - self.columns * self.panels, VECTORS)

    def lines(self) -> list[str]:
        """The instructions, one a line."""
        assert self._round is not None
        pixels = [list(self.sums[at : at + self.panels]) for at in range(0, len(self.sums), self.panels)]
        biases, starts = self.finish.starts(pixels, self.style, _BIASES)
        ahead = [
            line
            for here, next_ in zip(_HERE[: self.inputs], _AHEAD, strict=False)
            for line in add(next_, here, self.pitch * _BYTES)
        ]
        free = range(VECTORS - len(self.sums))
        return ahead + biases + self._round.lines(_COUNT, starts) + self.finish.lines(pixels, free)

    @cached_property
    def _taps(self) -> list[tuple[int, int, int]]:
        """(tap, output, pixel) of all that lie inside."""
        return [
            (tap, column, pixel)
            for tap in range(self.width)
            for column in range(self.columns)
            if self.pixels[0] <= (pixel := column * self.stride + tap * self.dilation) < self.pixels[1]
        ]

    @cached_property
    def _span(self) -> tuple[int, int]:
        """The columns that are read: first, and one after the last."""
        pixels = [pixel for _, _, pixel in self._taps]
        return (min(pixels), max(pixels) + 1) if pixels else (0, 0)

    @cached_property
    def _loads(self) -> list[tuple[int, int]]:
        """(first pixel, lanes) of the vectors that hold a plane's pixels: the last one ends with them."""
        first, end = self._span
        if end - first < LANES:
            pairs = [(first, 2)] if end - first > 1 else []
            return pairs + ([(end - 1, 1)] if (end - first) % 2 else [])
        return [(min(start, end - LANES), LANES) for start in range(first, end, LANES)]

    @property
    def _round(self) -> Round | None:
        return _round_of(replace(self, finish=SUMS_ONLY))

    def _composed(self) -> Iterator[Round]:
        """The rounds that fit, of the ways to share registers."""
        for sets in range(self.inputs if self._taps else 0, 0, -1):
            for shared in self._shared(sets):
                tried = self._tried(sets, shared)
                if tried.fits and tried.lead >= LEAST_LEAD[self.style]:
                    yield tried

    def _shared(self, sets: int) -> list[int]:
        """Numbers of registers that the weights can take turns in, when pixels have `sets` sets of theirs."""
        room = VECTORS - len(self.sums) - sets * len(self._loads)
        weights = len({tap for tap, _, _ in self._taps}) * self.panels * self.inputs
        return [each for each in range(min(room, weights), 0, -1) if weights % each == 0][:2]

    def _tried(self, sets: int, shared: int) -> Round:
        """The round with so many sets of registers for pixels, and so many registers for weights."""
        vectors: list[Vector] = []
        products: list[Product] = []
        taps = sorted({tap for tap, _, _ in self._taps})
        weights = 0
        for plane in range(self.inputs):
            pixels = len(vectors)
            for at, (start, lanes) in enumerate(self._loads):
                offset = (start - self.first_pixel) * _BYTES
                register = shared + plane % sets * len(self._loads) + at
                ahead = Address(_AHEAD[plane], offset)
                vectors.append(Vector(register, Address(_HERE[plane], offset), ahead, lanes))
            for tap in taps:
                for panel in range(self.panels):
                    offset = (tap * self.inputs + plane) * self.channels * _BYTES + panel * LANES * _BYTES
                    here, ahead = (
                        Address(_WEIGHTS, offset + each * self._weights_pitch) for each in (False, True)
                    )
                    vectors.append(Vector(weights % shared, here, ahead))
                    weights += 1
                    products += [
                        self._product(column, panel, len(vectors) - 1, pixels, pixel)
                        for each, column, pixel in self._taps
                        if each == tap
                    ]
        steps = dict.fromkeys((*_HERE[: self.inputs], *_AHEAD[: self.inputs]), self.pitch * _BYTES)
        return Round(
            tuple(vectors), tuple(products), self.style, _SCRATCH, steps | {_WEIGHTS: self._weights_pitch}
        )

    def _product(self, column: int, panel: int, weights: int, pixels: int, pixel: int) -> Product:
        at, start = next(
            (at, start) for at, (start, lanes) in enumerate(self._loads) if start <= pixel < start + lanes
        )
        return Product(self.sums[column * self.panels + panel], weights, pixels + at, pixel - start)

    @property
    def _weights_pitch(self) -> int:
        return self.width * self.inputs * self.channels * _BYTES


@functools.cache
def _round_of(step: ImageStep) -> Round | None:
    """The first round that wastes nothing, or that which wastes least; None if none fits."""
    found: list[Round] = []
    for tried in step._composed():
        found.append(tried)
        if tried.waste == 0:
            break
    return min(found, key=lambda each: each.waste, default=None)


def image_steps(frame: Frame, pitch: int) -> list[tuple[int, ImageStep]]:
    """The kinds of step along a row, each with the output at which it ends; `pitch` is ImageStep's."""
    return [
        (
            end,
            ImageStep(
                columns,
                CHANNEL_MULTIPLE,
                frame.channels,
                frame.kernel[1],
                frame.stride[1],
                frame.dilation[1],
                pixels,
                pitch,
                frame.style,
            ),
        )
        for end, (columns, pixels) in frame.columns_spans()
    ]


def llvm_ir(step: ImageStep) -> str:
    """LLVM IR of `void NAME(sums, rows, weights, planes...)`, with `Finish.parameters` instead of `sums`.

    Results go to the output, or to `sums` [columns][channels].

    The window has `rows` (i32) rows inside the image, one at least. Each of `planes` points at the first
    pixel of the uppermost that is read; `weights` at that row's in the panel
    [rows][width][inputs][channels].
    """
    planes = {name: f"%plane{at}" for at, name in enumerate(_HERE[: step.inputs])}
    body, arguments = step.finish.arguments({**planes, _WEIGHTS: "%weights"})
    sums = [] if step.finish.stored else list(step.sums)
    vectors = [f"v{register}" for register in range(VECTORS) if register not in sums]
    clobbers = [*vectors, *_AHEAD[: step.inputs], *_SCRATCH, *_BIASES]
    called = inline.call(step.lines(), sums, {**arguments, _COUNT: "%more"}, clobbers)
    parameters = ", ".join(
        [step.finish.parameters, "i32 %rows, ptr %weights", *map("ptr {}".format, planes.values())]
    )
    return (
        f"{inline.HEADER}define void @{step.name}({parameters}) alwaysinline {{\n{body}"
        "  %count = sext i32 %rows to i64\n  %more = sub i64 %count, 1\n"
        f"{called}{inline.stored(len(sums), len(arguments) + 1)}  ret void\n}}\n"
    )
