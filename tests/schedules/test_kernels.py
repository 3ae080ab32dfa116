"""Every kind computes what PyTorch does, at, below and above the sizes of its tiles."""

from itertools import cycle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import Case, assert_agrees

from schedules.window import Window
from targets.cores import find_core

CORES = [find_core(name) for name in ("a53", "a55", "a72", "a76")]
EDGES = (1, 3, 7, 8, 18, 24, 27, 33)
SIZES = ((1, 1), (5, 7), (8, 3), (13, 13), (1, 9))


def name(value) -> str:
    return getattr(value, "name", None) or str(value)


def same(size: int, stride: int = 1, dilation: int = 1) -> Window:
    side = size // 2 * dilation
    return Window((size, size), (stride, stride), (side,) * 4, (dilation, dilation))


THIN = Window((1, 3), (1, 2), (0, 1, 0, 1))
LARGER_THAN_THE_IMAGE = Window((5, 5), (1, 1), (2, 2, 2, 2))
ONE_SIDED = Window((3, 3), (2, 2), (0, 0, 1, 1))

CASES = [
    *(
        Case(
            "pointwise",
            (1, inputs, *size),
            outputs,
            Window((1, 1), (1 + outputs % 2,) * 2),
            residual=residual,
        )
        for inputs, outputs, size, residual in zip(EDGES, EDGES[::-1], cycle(SIZES), cycle((True, False)))
    ),
    Case("pointwise", (1, 33, 14, 14), 24),
    Case("pointwise", (2, 24, 7, 7), 33, residual=True),
    Case("pointwise", (3, 8, 2, 3), 8),
    Case("pointwise", (1, 32, 1, 5), 7),
    Case("pointwise", (1, 32, 1, 8), 15, residual=True),
    Case("pointwise", (1, 16, 7, 1), 1),
    Case("pointwise", (1, 320, 3, 4), 1000),
    # No tile divides these pixels: the last one has fewer rows.
    Case("pointwise", (1, 32, 3, 3), 40, residual=True),
    Case("pointwise", (1, 100, 19, 19), 20),
    Case("pointwise", (1, 36, 1, 33), 24, residual=True),
    Case("pointwise", (1, 16, 1, 2), 8),
    *(
        Case("depthwise", (1, channels, *size), channels, window, residual=residual)
        for channels, size, window, residual in zip(
            EDGES,
            cycle(SIZES),
            cycle((same(3), same(3, 2), same(5))),
            cycle((False, True)),
        )
    ),
    Case("depthwise", (2, 24, 12, 15), 24, same(3), residual=True),
    # The last vector of channels begins among those of the one before.
    *(
        Case("depthwise", (1, channels, 11, 17), channels, window)
        for channels, window in (
            (22, same(5)),
            (11, same(5, 2)),
            (5, same(3)),
            (13, same(7)),
            (44, same(7, 2)),
        )
    ),
    Case("depthwise", (1, 22, 9, 9), 22, same(5), residual=True),
    Case("depthwise", (1, 20, 30, 7), 20, same(5, dilation=2)),
    Case("depthwise", (1, 18, 9, 14), 18, same(3, dilation=2)),
    Case("depthwise", (1, 8, 2, 2), 8, LARGER_THAN_THE_IMAGE),
    Case("depthwise", (1, 16, 10, 10), 16, ONE_SIDED),
    Case("depthwise", (1, 12, 4, 9), 12, THIN),
    Case("depthwise", (1, 4, 9, 9), 4, Window((7, 7), (4, 4), (3, 3, 3, 3))),
    *(
        Case("conv", (1, inputs, *size), outputs, window, residual=residual)
        for inputs, outputs, size, window, residual in zip(
            EDGES, EDGES[::-1], cycle(SIZES), cycle((same(3), same(3, 2), same(5))), cycle((True, False))
        )
    ),
    *(
        Case("stem", (1, inputs, *size), outputs, window, residual=residual)
        for inputs, outputs, size, window, residual in zip(
            (1, 2, 3, 4, 3, 3, 1, 3),
            (8, 20, 33, 16, 24, 7, 16, 8),
            ((13, 13), (9, 31), (5, 7), (12, 16), (14, 29), (8, 8), (1, 9), (19, 23)),
            cycle((same(3, 2), same(3), same(5), same(7, 2), same(3, dilation=2))),
            cycle((True, False)),
        )
    ),
    Case("stem", (1, 5, 9, 9), 8, same(3)),
    Case("stem", (1, 3, 2, 2), 8, LARGER_THAN_THE_IMAGE),
    Case("stem", (1, 3, 4, 9), 12, THIN),
    Case("stem", (1, 3, 2, 5), 8, Window((1, 3), padding=(2, 1, 2, 1))),
    Case("stem", (1, 3, 15, 18), 16, same(3, 2)),
    Case("stem", (2, 3, 16, 16), 18, ONE_SIDED, residual=True),
    Case("stem", (1, 3, 9, 9), 8, Window((7, 7), (4, 4), (3, 3, 3, 3))),
    Case("conv", (1, 8, 9, 14), 8, same(3, dilation=2)),
    Case("conv", (1, 8, 2, 2), 8, LARGER_THAN_THE_IMAGE),
    Case("conv", (1, 6, 4, 9), 12, THIN),
    Case("conv", (1, 5, 4, 6), 8, Window((1, 1), padding=(1, 1, 1, 1))),
    *(
        Case("conv", (1, groups * inputs, 6, 7), groups * outputs, same(3), groups)
        for groups, inputs, outputs in ((2, 3, 4), (4, 2, 8), (9, 1, 12), (3, 8, 20), (2, 16, 16))
    ),
    *(
        Case("conv", (1, groups * inputs, *size), groups * outputs, Window((1, 1)), groups, residual=True)
        for groups, inputs, outputs, size in (
            (2, 12, 24, (7, 7)),
            (3, 20, 4, (5, 9)),
            (4, 5, 12, (1, 3)),
            (8, 8, 8, (4, 4)),
        )
    ),
    Case("conv", (2, 16, 9, 9), 24, same(3, 2), residual=True),
    Case("conv", (1, 32, 19, 11), 40, same(3, dilation=4)),
    Case("conv", (3, 12, 1, 1), 16, same(3)),
    *(
        Case("dense", (1, inputs), outputs, residual=True)
        for inputs, outputs in zip(EDGES, EDGES[::-1], strict=True)
    ),
    Case("dense", (5, 33), 80),
    Case("dense", (2, 64), 40, residual=True),
    Case("dense", (9, 12), 27),
    Case("dense", (1, 1280), 1000),
    *(Case("mean", (1, channels, *size)) for channels, size in zip(EDGES, cycle(SIZES))),
    *(
        Case("pool", (1, channels, 9, 12), 0, window, mode=mode, counts_padding=counts)
        for channels, window, (mode, counts) in zip(
            EDGES,
            cycle((same(3, 2), Window((2, 2), (2, 2)), Window((3, 3), (1, 1), (1, 1, 1, 1)))),
            cycle((("max", True), ("avg", True), ("avg", False), ("max", False))),
        )
    ),
]


@pytest.mark.parametrize(("case", "core"), list(zip(CASES, cycle(CORES), strict=False)), ids=name)
def test_kernel_agrees_with_pytorch(case, core):
    assert_agrees(case, core)


@pytest.mark.parametrize("core", CORES, ids=name)
@pytest.mark.parametrize(
    "case",
    [
        Case("pointwise", (1, 24, 14, 14), 40, residual=True),
        Case("depthwise", (1, 24, 14, 14), 24, same(3)),
        Case("stem", (1, 3, 28, 28), 16, same(3, 2)),
        Case("stem", (1, 3, 30, 30), 16, same(7, 2)),
        Case("conv", (1, 24, 7, 7), 16, same(3)),
        Case("dense", (1, 40), 80),
    ],
    ids=name,
)
def test_usual_kernel_agrees_on_every_core(case, core):
    assert_agrees(case, core)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(data=st.data())
def test_any_convolution_agrees_with_pytorch(data):
    draw = data.draw
    kind = draw(st.sampled_from(["pointwise", "depthwise", "conv", "stem"]))
    widest = 5 if kind == "stem" else 40
    height, width, inputs, outputs = (draw(st.integers(1, bound)) for bound in (12, 17, widest, 40))
    kernel = (1, 1) if kind == "pointwise" else tuple(draw(st.integers(1, 5)) for _ in range(2))
    stride = tuple(draw(st.integers(1, 2)) for _ in range(2))
    low = [max(0, k - extent) for k, extent in zip(kernel, (height, width), strict=True)]
    padding = tuple(
        0 if kind == "pointwise" else draw(st.integers(low[axis], low[axis] + 2)) for axis in (0, 1, 0, 1)
    )
    channels = inputs if kind == "depthwise" else outputs
    window = Window(kernel, stride, padding)
    shape = (draw(st.integers(1, 2)), inputs, height, width)
    assert_agrees(
        Case(kind, shape, channels, window, residual=draw(st.booleans())), draw(st.sampled_from(CORES))
    )
