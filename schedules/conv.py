"""Convolution with a window over all input channels of NHWC pixels (dense 3x3), and grouped convolution.

A matrix product as the pointwise kernel is, once for each tap of the window: the sums of `rows` outputs,
neighbours in the order of memory, by `columns` channels stay in registers over the taps. What is
multiplied is pixel_tile.py's. A tap is skipped where it lies beside the image for a whole tile.
"""

from __future__ import annotations

from tvm import ir, te, tirx
from tvm.s_tir import Schedule

from schedules.kernel import CHANNEL_MULTIPLE, LANES, Decisions, Workload, anchor, round_up, workload_of
from schedules.microkernel import style_of
from schedules.pixel_tile import choose, tiles
from schedules.space import Decider
from schedules.splice import mark_pixel_tile
from schedules.tile import fold_epilogue, lanes_of, partition, unroll_all, vectorize_channels
from schedules.traffic import Product, Walk
from schedules.window import Window, padded_load
from targets.cores import Core

KIND = "conv"

COLUMNS = (8, 12, 4)
"""Output channels per panel."""
WALKS = 6
"""Orders of loops in the space: those of the least traffic."""


def define(data: te.Tensor, weight: te.Tensor, channels: int, window: Window, groups: int = 1) -> te.Tensor:
    """The kernel before scheduling.

    `data` is [batch, height, width, inputs]; `weight` is [kernel height, kernel width, inputs / groups,
    outputs], its outputs rounded up to CHANNEL_MULTIPLE with zeros. Of several groups, each must have outputs
    in multiples of LANES, and nothing is filled up. Returns [batch, height', width', channels].
    """
    batch, height, width, _ = (int(extent) for extent in data.shape)
    depth, padded = int(weight.shape[2]), int(weight.shape[3])
    out_height, out_width = window.output_size(height, width)
    area, per_group = out_height * out_width, channels // groups
    r = te.reduce_axis((0, window.kernel[0]), name="r")
    s = te.reduce_axis((0, window.kernel[1]), name="s")
    k = te.reduce_axis((0, depth), name="k")

    def product(m: tirx.Var, n: tirx.Var) -> ir.Expr:
        source = k if groups == 1 else n // per_group * depth + k
        place = m % area // out_width, m % out_width
        pixel = padded_load(
            lambda row, column: data[m // area, row, column, source], (height, width), window, place, (r, s)
        )
        return te.sum(pixel * weight[r, s, k, n], axis=[r, s, k])

    shape = {"h": out_height, "w": out_width, "k": depth, "n": channels, **window.shape()}
    if groups > 1:
        shape["groups"] = groups
    taps = window.kernel[0] * window.kernel[1] * depth
    details = {"batch": batch, "height": height, "width": width}
    extents = (batch * area, padded)
    total = anchor(KIND, extents, product, shape, batch * area * channels * taps, details)
    return te.compute(
        (batch, out_height, out_width, channels),
        lambda b, y, x, n: total[(b * out_height + y) * out_width + x, n],
        name="pixels",
    )


def decide(workload: Workload, core: Core, decider: Decider) -> Decisions:
    """The outputs of a tile, the load style, and what is walked together."""
    found = tiles(_outputs(workload), _padded(workload), workload["k"], COLUMNS, style_of(core))
    tile = choose(decider, found)
    walks = _walks(workload, core, tile.rows, tile.columns)
    chosen = walks[decider.choose("walk", range(min(len(walks), WALKS)))]
    lanes = lanes_of(core, tile.columns)
    return {**tile.decisions(), "lanes": lanes, "tiles": chosen.tiles, "panels": chosen.panels}


def _per_group(workload: Workload) -> int:
    return workload["n"] // workload.shape.get("groups", 1)


def _outputs(workload: Workload) -> int:
    return workload.details["batch"] * workload["h"] * workload["w"]


def _padded(workload: Workload) -> int:
    """Output channels of a group that are computed."""
    return round_up(_per_group(workload), LANES if "groups" in workload.shape else CHANNEL_MULTIPLE)


def _walks(workload: Workload, core: Core, rows: int, columns: int) -> list[Walk]:
    """Of the tiles and of the panels of one group."""
    tiles = -(-_outputs(workload) // rows)
    panels = _padded(workload) // columns
    taps = workload["kernel"] * workload.shape.get("kernel_width", workload["kernel"])
    return Product(rows, tiles, columns, panels, workload["k"], taps).walks(core)


def schedule(sch: Schedule, decisions: Decisions) -> None:
    """Lay the kernel out: groups, panels and tiles as they are walked, the window's taps inside."""
    workload = workload_of(sch)
    assert workload is not None
    rows, columns = decisions["rows"], decisions["columns"]
    total = sch.get_sblock(KIND)
    sch.transform_layout(total, ("read", 1), lambda r, s, k, n: (n // columns, r, s, k, n % columns))
    output = fold_epilogue(sch, total)
    _, height, width, _ = (int(sch.get(loop).extent) for loop in sch.get_loops(output))
    per_group = _per_group(workload)

    def laid_out(b: tirx.Var, y: tirx.Var, x: tirx.Var, n: tirx.Var) -> tuple[ir.Expr, ...]:
        channel = (n,) if per_group == workload["n"] else (n // per_group, n % per_group)
        return ((b * height + y) * width + x, *channel)

    sch.transform_block_layout(output, laid_out)
    m, *group, n = sch.get_loops(output)
    block, tile, row = sch.split(m, [None, decisions["tiles"], rows])
    walked, panel, column = sch.split(n, [None, decisions["panels"], columns])
    sch.reorder(*group, walked, block, panel, tile, row, column)
    unroll_all(sch, row, vectorize_channels(sch, column))
    partition(sch, walked, panel)
    sch.compute_at(total, tile, preserve_unit_loops=True)
    row, column, r, s, k = sch.get_loops(total)[-5:]
    sch.reorder(r, s, row, column, k)
    mark_pixel_tile(sch, total, r, row, decisions)
