"""The written-out loops compute what NumPy does, whatever their shape, and read nothing outside."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from interpreter import BYTES, run

from schedules.image_step import ImageStep
from schedules.microkernel import INTERLEAVED, PAIRED, WRITTEN_OUT
from schedules.pixel_tile import PixelTile, tiles
from targets.emulated.pricing.inorder import cycles_in_order
from targets.emulated.pricing.instruction import parse
from targets.emulated.pricing.rules import RULES

GAP = 64
"""Elements that nothing may read, between what may be read."""


def packed(parts: list[np.ndarray]) -> tuple[np.ndarray, list[int], list[tuple[int, int]]]:
    """`parts` in one memory: where each begins, in bytes, and the spans that are theirs."""
    memory, spans = [np.zeros(GAP)], []
    for part in parts:
        begin = sum(map(len, memory))
        spans.append((begin, begin + part.size))
        memory += [part.reshape(-1), np.zeros(GAP)]
    return np.concatenate(memory), [BYTES * begin for begin, _ in spans], spans


@settings(max_examples=25, deadline=None, derandomize=True)
@given(data=st.data())
def test_a_stems_step_is_the_windows_sum(data):
    draw = data.draw
    columns, width, inputs = draw(st.integers(1, 8)), draw(st.integers(1, 7)), draw(st.integers(1, 4))
    stride, dilation, rows = draw(st.integers(1, 3)), draw(st.integers(1, 2)), draw(st.integers(1, 3))
    reach = (columns - 1) * stride + (width - 1) * dilation + 1
    first = draw(st.integers(0, min(reach - 1, 3)))
    end = draw(st.integers(first + 1, reach))
    pitch = reach + draw(st.sampled_from([0, 1, 1500]))
    step = ImageStep(
        columns, 8, inputs, width, stride, dilation, (first, end), pitch, draw(st.sampled_from(WRITTEN_OUT))
    )
    assume(step.fits)
    random = np.random.default_rng(0)
    image = random.standard_normal((inputs, rows, end - first))
    weights = random.standard_normal((rows, width, inputs, 8))
    read = image[:, :, step.first_pixel - first :]
    # A plane's rows lie `pitch` apart; of each, only the columns inside the image may be read.
    planes = np.full((inputs, rows, pitch), np.nan)
    planes[:, :, : read.shape[2]] = read
    memory, places, spans = packed([weights, *planes])
    inside = [
        (at + row * pitch, at + row * pitch + read.shape[2]) for at, _ in spans[1:] for row in range(rows)
    ]
    addresses = {"x8": places[0], "x9": rows - 1, **{f"x{at}": place for at, place in enumerate(places[1:])}}
    vectors = run(step.lines(), addresses, memory, [spans[0], *inside])
    expected = np.zeros((columns, 8))
    for column in range(columns):
        for tap in range(width):
            pixel = column * stride + tap * dilation
            if first <= pixel < end:
                expected[column] += np.einsum("kr,rkn->n", image[:, :, pixel - first], weights[:, tap])
    np.testing.assert_allclose(vectors[list(step.sums)].reshape(columns, 8), expected, atol=1e-9)


@pytest.mark.parametrize("style", WRITTEN_OUT)
@pytest.mark.parametrize("depth", [3, 4, 13, 24])
def test_a_tile_is_a_matrix_product(style, depth):
    for tile in [*tiles(8, 24, depth, (4, 8, 12), style)[::6], *tiles(1, 40, depth, (40,), style)]:
        random = np.random.default_rng(0)
        pixels = list(random.standard_normal((tile.rows, depth)))
        weights = random.standard_normal((depth, tile.columns))
        memory, places, spans = packed([weights, *pixels])
        addresses = {"x8": places[0], "x9": max(0, depth // tile.step - 1)}
        addresses |= {f"x{row}": place for row, place in enumerate(places[1:])}
        zeros = [f"movi v{register}.4s, #0" for register in tile.sums]
        vectors = run([*zeros, *tile.lines()], addresses, memory, spans)
        result = vectors[list(tile.sums)].reshape(tile.rows, tile.columns)
        np.testing.assert_allclose(result, np.array(pixels) @ weights, atol=1e-9)


@pytest.mark.parametrize("outputs", [1, 2, 196])
@pytest.mark.parametrize("style", WRITTEN_OUT)
def test_there_is_always_a_tile(style, outputs):
    for channels in (4, 1000):
        assert tiles(outputs, channels, 5, (40, 12, 8, 4), style)


def loop(lines: list[str]) -> list[str]:
    """The instructions of the loop among `lines`."""
    return lines[lines.index("1:") + 1 : lines.index("2:")]


def cycles(lines: list[str], core: str) -> float:
    return cycles_in_order([parse(line.replace("1b", "#0")) for line in lines], RULES[core])


@pytest.mark.parametrize(
    ("core", "style", "shape", "least"),
    [
        ("cortex-a53", PAIRED, (8, 8, 4), 0.79),
        ("cortex-a53", PAIRED, (7, 8, 8), 0.78),
        ("cortex-a53", PAIRED, (6, 12, 4), 0.79),
        ("cortex-a53", PAIRED, (1, 40, 8), 0.47),
        ("cortex-a55", INTERLEAVED, (8, 8, 4), 0.96),
        ("cortex-a55", INTERLEAVED, (7, 8, 8), 0.99),
        ("cortex-a55", INTERLEAVED, (6, 12, 4), 0.99),
        ("cortex-a55", INTERLEAVED, (1, 40, 8), 0.47),
    ],
)
def test_a_tiles_loads_are_beside_other_instructions(core, style, shape, least):
    rows, columns, step = shape
    body = loop(PixelTile(rows, columns, 64, step, True, style).lines())
    products = [line for line in body if line.startswith("fmla")]
    assert len(products) == rows * columns // 4 * step
    assert len(products) / cycles(body, core) >= least


@pytest.mark.parametrize(
    ("core", "style", "least"), [("cortex-a53", PAIRED, 0.8), ("cortex-a55", INTERLEAVED, 0.98)]
)
@pytest.mark.parametrize(("width", "pixels"), [(3, 15), (7, 19)])
def test_a_stems_loads_are_beside_other_instructions(core, style, least, width, pixels):
    body = loop(ImageStep(7, 8, 3, width, 2, 1, (0, pixels), 224, style).lines())
    products = [line for line in body if line.startswith("fmla")]
    assert len(products) == 7 * 2 * 3 * width
    assert len([line for line in body if line.startswith(("ldr d", "ldur d"))]) == 3 * (
        -(-pixels // 4) + 2 * width
    )
    assert len(products) / cycles(body, core) >= least
