"""A transposed convolution as the convolutions that its phases are.

Along an axis, output o sums weight[k] * input[i] over o = i * stride - padding + k. Outputs of one phase, o =
stride * m + phase, see every stride-th tap only, and neighbouring m see neighbouring inputs: a convolution of
stride 1 with the taps of the phase, mirrored. (Dumoulin and Visin, A guide to convolution arithmetic for deep
learning, 2016, section 4.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from tvm import ir, relax

from compile.passes.constants import Array, array_of, constant
from compile.passes.convolution import pair, sides

KERNEL_LAYOUT = "HWIO"
"""Which axes of the weight are the data's channels (I) and the output's (O)."""


@dataclass(frozen=True)
class Phase:
    """Along an axis: which taps the outputs of a phase see, and the zeros that the input needs around it."""

    taps: tuple[int, ...]
    """In the order in which they meet the inputs; those outside of the kernel are zeros."""
    before: int
    after: int


def phases(inputs: int, outputs: int, kernel: int, stride: int, padding: int) -> list[Phase]:
    """The phases along an axis of `inputs` pixels; each has at least as many outputs as `outputs` wants."""
    found = []
    for phase in range(stride):
        first, shift = (phase + padding) % stride, (phase + padding) // stride
        count = max(-(-(kernel - first) // stride), shift + 1)
        wanted = -(-(outputs - phase) // stride)
        taps = tuple(first + stride * tap for tap in reversed(range(count)))
        found.append(Phase(taps, count - 1 - shift, max(0, wanted + shift - inputs)))
    return found


@dataclass(frozen=True)
class Transposed:
    """A transposed convolution of NHWC pixels, of one group, with constant weights."""

    data: ir.Expr
    weight: Array
    """[kernel height, kernel width, inputs, outputs]"""
    stride: int
    size: tuple[int, int]
    """(height, width) of the output."""
    rows: list[Phase]
    columns: list[Phase]

    @property
    def is_one_product(self) -> bool:
        """Whether every phase reads the same pixel alone."""
        return all(
            len(each.taps) == 1 and each.before == each.after == 0 for each in self.rows + self.columns
        )

    def convolutions(self) -> list[ir.Call]:
        """The convolution of each phase, row by row; a single one of all their channels where it can be."""
        if self.is_one_product:
            weights = [self._taps(row, column) for row in self.rows for column in self.columns]
            return [_convolution(self.data, np.concatenate(weights, axis=3), self.rows[0], self.columns[0])]
        return [
            _convolution(self.data, self._taps(row, column), row, column)
            for row in self.rows
            for column in self.columns
        ]

    def _taps(self, row: Phase, column: Phase) -> Array:
        reach = [max(row.taps) + 1 - self.weight.shape[0], max(column.taps) + 1 - self.weight.shape[1]]
        padded = np.pad(self.weight, [(0, max(0, each)) for each in reach] + [(0, 0), (0, 0)])
        return padded[list(row.taps)][:, list(column.taps)]


def transposed_of(call: ir.Call) -> Transposed | None:
    """The transposed convolution that `call` is, if its phases can be convolutions of ours."""
    data, attrs = call.args[0], call.attrs
    weight = array_of(call.args[1])
    stride, (top, left, _, _) = pair(attrs.strides), sides(attrs.padding)
    layouts = (attrs.data_layout, attrs.kernel_layout)
    is_plain = int(attrs.groups) == 1 and pair(attrs.dilation) == (1, 1) and stride[0] == stride[1]
    if weight is None or not is_plain or layouts != ("NHWC", KERNEL_LAYOUT):
        return None
    size = int(call.ty.shape[1]), int(call.ty.shape[2])
    rows, columns = (
        phases(int(data.ty.shape[1 + axis]), size[axis], weight.shape[axis], stride[axis], padding)
        for axis, padding in ((0, top), (1, left))
    )
    return Transposed(data, weight, stride[0], size, rows, columns)


def in_planes(builder: relax.BlockBuilder, call: ir.Call) -> ir.Expr:
    """The NHWC transposed convolution `call` on NCHW planes, which is all that TVM has a kernel for."""
    attrs = call.attrs
    planes = builder.emit(relax.op.permute_dims(call.args[0], [0, 3, 1, 2]))
    weight = builder.emit(relax.op.permute_dims(call.args[1], [2, 3, 0, 1]))
    result = relax.op.nn.conv2d_transpose(
        planes,
        weight,
        strides=list(attrs.strides),
        padding=list(attrs.padding),
        output_padding=list(attrs.output_padding),
        dilation=list(attrs.dilation),
        groups=int(attrs.groups),
        data_layout="NCHW",
        kernel_layout="IOHW",
        out_layout="NCHW",
    )
    return relax.op.permute_dims(builder.emit(result), [0, 2, 3, 1])


def _convolution(data: ir.Expr, weight: Array, row: Phase, column: Phase) -> ir.Call:
    return relax.op.nn.conv2d(
        data,
        constant(weight),
        padding=(row.before, column.before, row.after, column.after),
        data_layout="NHWC",
        kernel_layout="HWIO",
        out_layout="NHWC",
    )
