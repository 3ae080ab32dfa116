"""Puts written-out inner loops (microkernel.py) where a schedule asked for them.

A schedule marks the outermost loop of a tile's sum with `mark()`: an annotation, which traces keep. After
the schedule is applied `splice()` replaces each marked loop nest by a call of the tile's function, whose
LLVM IR is attached to the call by TVM's `pragma_import_llvm`.
"""

from __future__ import annotations

from tvm import ir, tirx
from tvm.s_tir import SBlock, SBlockRealize, Schedule
from tvm.s_tir.schedule import LoopRV, SBlockRV

from schedules.microkernel import Tile, llvm_ir

_MARK = "armature.microkernel"


def mark(sch: Schedule, loop: LoopRV, tile: Tile) -> None:
    """Ask for the nest at `loop` (rows, columns, inputs; of a block with its init) to become `tile`."""
    sch.annotate(loop, _MARK, " ".join(str(part) for part in (tile.pitch, tile.style)))


def splice(sch: Schedule) -> None:
    """Replace every marked nest by a call. Nothing may be scheduled afterwards."""
    for block in sch.get_child_blocks(sch.get_sblock("root")):
        for loop in sch.get_loops(block)[-3:-2]:
            asked = sch.get(loop).annotations.get(_MARK)
            if asked is not None:
                pitch, style = str(asked).split(" ")
                _replace(sch, block, loop, int(pitch), style)


def _replace(sch: Schedule, block: SBlockRV, loop: LoopRV, pitch: int, style: str) -> None:
    nest = [sch.get(each) for each in sch.get_loops(block)[-3:]]
    rows, columns, depth = (int(each.extent) for each in nest)
    tile = Tile(rows, columns, depth, pitch, style)
    stmt: tirx.Stmt = _call(sch.get(block), nest[-1].body, tile)
    for each in reversed(nest):
        stmt = tirx.For(each.loop_var, each.min, 1, tirx.ForKind.SERIAL, stmt)
    sch.state.replace(sch.get_sref(loop), stmt)


def _call(block: SBlock, realize: SBlockRealize, tile: Tile) -> SBlockRealize:
    """The block as a call on the tile that starts where the loops do."""
    row, column, depth = (axis.var for axis in block.iter_vars)
    sums = tirx.BufferLoad(block.body.buffer, block.body.indices)
    product = block.body.value.b
    addresses = [tirx.address_of(load) for load in (sums, product.a, product.b)]
    call = tirx.AttrStmt(
        tirx.const(0),
        "pragma_import_llvm",
        ir.StringImm(llvm_ir(tile)),
        tirx.Evaluate(tirx.call_extern("void", tile.name, *addresses)),
    )
    spans = {row: tile.rows, column: tile.columns, depth: tile.depth}
    reads = [_region(touched, spans) for touched in block.reads]
    writes = [_region(touched, spans) for touched in block.writes]
    new = SBlock(block.iter_vars, reads, writes, block.name_hint, call)
    return SBlockRealize(realize.iter_values, realize.predicate, new)


def _region(touched: ir.TensorRegion, spans: dict[tirx.Var, int]) -> ir.TensorRegion:
    """What a tile touches, from what its first element does: an axis that a loop walks, in part; others whole."""
    ranges = []
    for one, extent in zip(touched.region, touched.source.ty.shape, strict=True):
        span = next((span for var, span in spans.items() if var.same_as(one.min)), None)
        ranges.append(ir.Range(0, extent) if span is None else ir.Range.from_min_extent(one.min, span))
    return ir.TensorRegion(touched.source, ranges, touched.ty)
