"""Clamps of float32 compare bits: as signed integers, floats of one sign are in the same order.

The vector units of A57 and A72 take 128-bit integer minima and maxima two a cycle, those of floats one (Arm's
Software Optimization Guides, section 3: "ASIMD max/min, basic" and "ASIMD FP max/min, Q-form"); other cores
take either alike.
"""

from __future__ import annotations

import struct

from tvm import ir, tirx
from tvm_ffi import structural_map


def by_bits(body: tirx.Stmt) -> tirx.Stmt:
    """`body` with every minimum and maximum of a float32 and a constant from zero up taken of their bits.

    A negative float is a negative integer, so it is below such a constant either way. Exact for all but NaN,
    which counts as above every number or, with its sign set, as below; float instructions give the constant.
    """
    return structural_map(body, ((ir.prim.expr.Max, _of_bits), (ir.prim.expr.Min, _of_bits)))


def bound_bits(bound: ir.Expr) -> int | None:
    """The bits of a float32 constant from zero up, as an integer; None for any other expression."""
    if not isinstance(bound, tirx.FloatImm) or bound.ty.dtype != "float32" or not bound.value >= 0:
        return None
    (bits,) = struct.unpack("<i", struct.pack("<f", abs(bound.value)))
    return int(bits)


def _of_bits(clamp: ir.Expr) -> ir.Expr:
    bits = bound_bits(clamp.b)
    if bits is None:
        return clamp
    number = type(clamp)(tirx.reinterpret("int32", clamp.a), tirx.const(bits, "int32"))
    return tirx.reinterpret("float32", number)
