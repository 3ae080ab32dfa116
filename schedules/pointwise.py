"""Pointwise (1x1) convolution over NHWC pixels, as a register-tiled matrix product.

The accumulators of `rows` pixels by `columns` output channels stay in vector registers for the whole sum
over input channels. Weights are packed as [columns-panel][input channel][column], so that the inner loop
reads them in a straight line.
"""

from __future__ import annotations

from collections.abc import Sequence

from tvm import ir, te, tirx
from tvm.s_tir import Schedule
from tvm.s_tir.schedule import LoopRV, SBlockRV

from schedules.kernel import (
    CHANNEL_MULTIPLE,
    LANES,
    Decisions,
    Workload,
    anchor,
    round_up,
)
from schedules.microkernel import BY_SCALAR, STYLES, VECTOR, WRITTEN_OUT, Tile, rounds_of, styles_of
from schedules.pixel_tile import PixelTile, choose, tiles
from schedules.space import Decider, dividing_first
from schedules.splice import mark_pixel_tile, mark_tile
from schedules.tile import fold_epilogue, lanes_of, partition, unroll_all, vectorize_channels
from schedules.traffic import Product, Walk
from targets.cores import Core

KIND = "pointwise"

ROWS = (7, 8, 6, 5, 4)
"""Row tiles, best first: with eight columns, seven rows take 14 sums (REFERENCE section 4)."""
SPLIT_ROWS = (8, 7, 6, 5, 4)
"""The same for cores whose vectors are loaded by halves: eight rows use each vector once more."""
COLUMNS = (8, 16, 12)
"""Output channels per panel, best first."""
MAX_SUMS = 24
"""Vector registers for sums, which leaves some for the operands."""
WALKS = 6
"""Orders of loops in the space: those of the least traffic."""
STEPS = (4, 8)
"""Input channels per round of the inner loop, best first."""


def define(data: te.Tensor, weight: te.Tensor, channels: int, stride: tuple[int, int]) -> te.Tensor:
    """The kernel before scheduling.

    `data` is [batch, height, width, inputs]; `weight` is [inputs, outputs], its outputs rounded up to
    CHANNEL_MULTIPLE with zeros. Returns [batch, height', width', channels].
    """
    batch, height, width, inputs = (int(extent) for extent in data.shape)
    out_height, out_width = -(-height // stride[0]), -(-width // stride[1])
    area = out_height * out_width
    k = te.reduce_axis((0, inputs), name="k")

    def product(m: tirx.Var, n: tirx.Var) -> ir.Expr:
        y, x = m % area // out_width, m % out_width
        return te.sum(data[m // area, y * stride[0], x * stride[1], k] * weight[k, n], axis=k)

    total = anchor(
        KIND,
        (batch * area, int(weight.shape[1])),
        product,
        {
            "m": batch * area,
            "k": inputs,
            "n": channels,
            **({} if stride == (1, 1) else {"stride": stride[0]}),
        },
        batch * area * inputs * channels,
    )
    return te.compute(
        (batch, out_height, out_width, channels),
        lambda b, y, x, n: total[(b * out_height + y) * out_width + x, n],
        name="pixels",
    )


def decide(workload: Workload, core: Core, decider: Decider) -> Decisions:
    """The tile, the load style, and what is walked together."""
    panels = dividing_first(round_up(workload["n"], CHANNEL_MULTIPLE), _columns(core))
    columns = decider.choose(
        "columns", [each for each in panels if round_up(workload["n"], CHANNEL_MULTIPLE) % each == 0]
    )
    style = STYLES[decider.choose("load_style", styles_of(core))]
    if style == BY_SCALAR and (found := _by_scalar(workload, columns)):
        return _pixel_tile(workload, core, decider, found)
    written_out = _written_out(workload, columns, style)
    is_written_out = decider.choose("written_out", (1, 0) if written_out else (0,))
    step = decider.choose("step", STEPS[:1] if is_written_out else STEPS)
    rounds = decider.choose("rounds", rounds_of(style)) if is_written_out else 1
    lanes = lanes_of(core, columns)
    tile = decider.choose("rows", written_out if is_written_out else _rows(workload, columns // lanes))
    walk = _walks(workload, core, tile, columns)
    chosen = walk[decider.choose("walk", range(min(len(walk), WALKS)))]
    return {
        "rows": tile,
        "columns": columns,
        "step": step,
        "lanes": lanes,
        "vector_loads": int(lanes == LANES and workload["k"] % LANES == 0 and step % LANES == 0),
        "load_style": STYLES.index(style),
        "written_out": is_written_out,
        "rounds": rounds,
        "tiles": chosen.tiles,
        "panels": chosen.panels,
    }


def _by_scalar(workload: Workload, columns: int) -> list[PixelTile]:
    """The tiles of pixels that can be written out for 32 bits, best first; why not all: `_written_out`."""
    pixels = workload["m"]
    if pixels == 1 or workload["n"] < columns:
        return []
    found = tiles(pixels, columns, workload["k"], [columns], BY_SCALAR)
    return [tile for tile in found if tile.style == BY_SCALAR]


def _pixel_tile(workload: Workload, core: Core, decider: Decider, found: Sequence[PixelTile]) -> Decisions:
    """One of these tiles, and what is walked together."""
    tile = choose(decider, found)
    walk = _walks(workload, core, tile.rows, tile.columns)
    chosen = walk[decider.choose("walk", range(min(len(walk), WALKS)))]
    return {
        **tile.decisions(),
        "lanes": LANES,
        "vector_loads": 0,
        "written_out": 1,
        "rounds": 1,
        "tiles": chosen.tiles,
        "panels": chosen.panels,
    }


def _walks(workload: Workload, core: Core, rows: int, columns: int) -> list[Walk]:
    tiles = -(-workload["m"] // rows)
    panels = round_up(workload["n"], columns) // columns
    return Product(rows, tiles, columns, panels, workload["k"]).walks(core)


def _by_style(style: str) -> tuple[int, ...]:
    return ROWS if style == VECTOR else SPLIT_ROWS


def _columns(core: Core) -> tuple[int, ...]:
    """Panels, best first: two vectors of a wide core, which each of a pixel's loads then serves."""
    lanes = core.vector_lanes("float32")
    return COLUMNS if lanes == LANES else (2 * lanes, lanes, *(each for each in COLUMNS if each < lanes))


def _rows(workload: Workload, vectors: int) -> list[int]:
    """Row tiles whose sums, so many `vectors` of a row, stay in registers."""
    return dividing_first(workload["m"], [rows for rows in ROWS if rows * vectors <= MAX_SUMS])


def _written_out(workload: Workload, columns: int, style: str) -> list[int]:
    """Row tiles, of neighbouring pixels, whose inner loops can be those of microkernel.py: best first.

    With fewer outputs than a panel, TVM makes the tile's buffer narrower than the panel that is written; the
    index of a lone pixel is no variable.
    """
    pixels, depth = workload["m"], workload["k"]
    if style not in WRITTEN_OUT or pixels == 1 or workload["n"] < columns or "stride" in workload.shape:
        return []

    def fits(rows: int) -> bool:
        return Tile(rows, columns, depth, depth, style, rounds_of(style)[0]).fits

    def vectors(rows: int) -> int:
        """Loaded for a panel and a round; where loads are dear, the fewest are best."""
        whole, left = divmod(pixels, rows)
        panels = columns // LANES * LANES
        return whole * (rows + panels) + (left + panels if left else 0)

    tiles = dividing_first(pixels, _by_style(style))
    fitting = [rows for rows in tiles if fits(rows) and (pixels % rows == 0 or fits(pixels % rows))]
    return fitting if style == VECTOR else sorted(fitting, key=vectors)


def schedule(sch: Schedule, decisions: Decisions) -> None:
    """Lay the kernel out: tiles of rows x columns, the sum inside, the epilogue on the registers."""
    rows, columns = decisions["rows"], decisions["columns"]
    total = sch.get_sblock(KIND)
    sch.transform_layout(total, ("read", 1), lambda k, n: (n // columns, k, n % columns))
    output = fold_epilogue(sch, total)
    by_vectors = decisions["vector_loads"] and not decisions["written_out"]
    pixels = sch.reindex(total, ("read", 0)) if by_vectors else None
    _, height, width, _ = (int(sch.get(loop).extent) for loop in sch.get_loops(output))
    sch.transform_block_layout(output, lambda b, y, x, n: ((b * height + y) * width + x, n))
    m, n = sch.get_loops(output)
    block, tile, row = sch.split(m, [None, decisions["tiles"], rows])
    group, panel, column = sch.split(n, [None, decisions["panels"], columns])
    sch.reorder(group, block, panel, tile, row, column)
    unroll_all(sch, row, vectorize_channels(sch, column, decisions["lanes"]))
    partition(sch, group, block, panel, tile)
    sch.compute_at(total, tile, preserve_unit_loops=True)
    row, column, k = sch.get_loops(total)[-3:]
    if decisions["written_out"] and STYLES[decisions["load_style"]] == BY_SCALAR:
        mark_pixel_tile(sch, total, row, row, decisions)
        return
    if decisions["written_out"]:
        mark_tile(sch, row, int(sch.get(k).extent), decisions["rounds"], STYLES[decisions["load_style"]])
        return
    vector, lane = sch.split(column, [None, decisions["lanes"]])
    outer, inner = sch.split(k, [None, decisions["step"]])
    sch.reorder(outer, inner, row, vector, lane)
    partition(sch, outer)
    unroll_all(sch, inner, row, vector)
    sch.vectorize(lane)
    if pixels is not None:
        _load_vectors(sch, pixels, outer)
    sch.decompose_reduction(total, outer)


def _load_vectors(sch: Schedule, pixels: SBlockRV, outer: LoopRV) -> None:
    """Read a step of input channels of a row as vectors, instead of one element per multiply-add."""
    sch.compute_at(pixels, outer, preserve_unit_loops=True)
    row, channel = sch.get_loops(pixels)[-2:]
    sch.unroll(row)
    unroll_all(sch, vectorize_channels(sch, channel))
