"""Writes a network as a .tflite file (TensorFlow's schema.fbs, version 3): NHWC, padding apart.

PyTorch pads a stride-2 window on both sides, TFLite's SAME on one: an explicit PAD, which XNNPACK takes into
the convolution that follows, keeps the numbers equal.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import flatbuffers
import numpy as np
import tflite
from numpy.typing import NDArray

from bench.calibration.network import IMAGE, Array, Layer

VERSION = 3
RELU6 = tflite.ActivationFunctionType.RELU6
NONE = tflite.ActivationFunctionType.NONE


class _Writer:
    def __init__(self) -> None:
        self.builder = flatbuffers.Builder(1 << 24)
        self.buffers = [b""]  # the first is empty, for tensors that are computed
        self.tensors: list[int] = []
        self.operators: list[int] = []
        self.codes: list[int] = []
        self.numbers: dict[str, int] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}

    def tensor(self, name: str, shape: tuple[int, ...], data: NDArray[np.generic] | None = None) -> int:
        buffer = 0
        if data is not None:
            buffer = len(self.buffers)
            self.buffers.append(data.tobytes())
        is_int = data is not None and data.dtype == np.int32
        tensor = self.table(
            "Tensor",
            Shape=self.ints(tflite.TensorStartShapeVector, shape),
            Type=tflite.TensorType.INT32 if is_int else tflite.TensorType.FLOAT32,
            Buffer=buffer,
            Name=self.builder.CreateString(name),
        )
        self.tensors.append(tensor)
        self.numbers[name], self.shapes[name] = len(self.tensors) - 1, shape
        return self.numbers[name]

    def ints(self, start: Callable[..., object], values: Sequence[int]) -> int:
        start(self.builder, len(values))
        for value in reversed(values):
            self.builder.PrependInt32(value)
        return int(self.builder.EndVector())

    def offsets(self, start: Callable[..., object], values: Sequence[int]) -> int:
        start(self.builder, len(values))
        for value in reversed(values):
            self.builder.PrependUOffsetTRelative(value)
        return int(self.builder.EndVector())

    def operator(
        self, code: int, kind: int, options: int, inputs: Sequence[int], outputs: Sequence[int]
    ) -> None:
        if code not in self.codes:
            self.codes.append(code)
        operator = self.table(
            "Operator",
            OpcodeIndex=self.codes.index(code),
            Inputs=self.ints(tflite.OperatorStartInputsVector, inputs),
            Outputs=self.ints(tflite.OperatorStartOutputsVector, outputs),
            BuiltinOptionsType=kind,
            BuiltinOptions=options,
        )
        self.operators.append(operator)

    def table(self, kind: str, **fields: int) -> int:
        """A table of the schema; whatever its fields refer to is written before."""
        getattr(tflite, f"{kind}Start")(self.builder)
        for field, value in fields.items():
            getattr(tflite, f"{kind}Add{field}")(self.builder, value)
        return int(getattr(tflite, f"{kind}End")(self.builder))

    def finish(self, inputs: Sequence[int], outputs: Sequence[int]) -> bytes:
        buffers = [
            self.table("Buffer", **({"Data": self.builder.CreateByteVector(content)} if content else {}))
            for content in self.buffers
        ]
        codes = [
            self.table("OperatorCode", DeprecatedBuiltinCode=code, BuiltinCode=code, Version=1)
            for code in self.codes
        ]
        graph = self.table(
            "SubGraph",
            Tensors=self.offsets(tflite.SubGraphStartTensorsVector, self.tensors),
            Inputs=self.ints(tflite.SubGraphStartInputsVector, inputs),
            Outputs=self.ints(tflite.SubGraphStartOutputsVector, outputs),
            Operators=self.offsets(tflite.SubGraphStartOperatorsVector, self.operators),
        )
        model = self.table(
            "Model",
            Version=VERSION,
            OperatorCodes=self.offsets(tflite.ModelStartOperatorCodesVector, codes),
            Subgraphs=self.offsets(tflite.ModelStartSubgraphsVector, [graph]),
            Buffers=self.offsets(tflite.ModelStartBuffersVector, buffers),
        )
        self.builder.Finish(model, b"TFL3")
        return bytes(self.builder.Output())


def write_tflite(layers: Sequence[Layer], size: int, path: Path) -> None:
    """Write `path`.tflite; the image is [1, `size`, `size`, 3]."""
    writer = _Writer()
    image = writer.tensor(IMAGE, (1, size, size, 3))
    for layer in layers:
        _WRITERS[layer.kind](writer, layer)
    Path(f"{path}.tflite").write_bytes(writer.finish([image], [writer.numbers[layers[-1].name]]))


def _padded(writer: _Writer, layer: Layer) -> str:
    (source,) = layer.inputs
    margin = layer.kernel // 2
    if margin == 0:
        return source
    name = f"{layer.name}_padded"
    batch, height, width, channels = writer.shapes[source]
    widths = np.array([[0, 0], [margin, margin], [margin, margin], [0, 0]], np.int32)
    amounts = writer.tensor(f"{layer.name}_margins", widths.shape, widths)
    padded = writer.tensor(name, (batch, height + 2 * margin, width + 2 * margin, channels))
    options = writer.table("PadOptions")
    operator = (tflite.BuiltinOperator.PAD, tflite.BuiltinOptions.PadOptions, options)
    writer.operator(*operator, [writer.numbers[source], amounts], [padded])
    return name


def _convolution(writer: _Writer, layer: Layer) -> None:
    assert layer.weight is not None
    assert layer.bias is not None
    source = _padded(writer, layer)
    depthwise = layer.kind == "depthwise"
    # OIHW to OHWI; a depthwise filter is [1, height, width, channels].
    filters: Array = np.ascontiguousarray(layer.weight.transpose((1, 2, 3, 0) if depthwise else (0, 2, 3, 1)))
    _, height, width, _ = writer.shapes[source]
    extents = [(extent - layer.kernel) // layer.stride + 1 for extent in (height, width)]
    weights = writer.tensor(f"{layer.name}_filter", filters.shape, filters)
    bias = writer.tensor(f"{layer.name}_bias", layer.bias.shape, layer.bias)
    output = writer.tensor(layer.name, (1, *extents, layer.weight.shape[0]))
    common = {
        "Padding": tflite.Padding.VALID,
        "StrideW": layer.stride,
        "StrideH": layer.stride,
        "DilationWFactor": 1,
        "DilationHFactor": 1,
        "FusedActivationFunction": RELU6 if layer.relu6 else NONE,
    }
    if depthwise:
        options = writer.table("DepthwiseConv2DOptions", DepthMultiplier=1, **common)
        operator = (tflite.BuiltinOperator.DEPTHWISE_CONV_2D, tflite.BuiltinOptions.DepthwiseConv2DOptions)
    else:
        options = writer.table("Conv2DOptions", **common)
        operator = (tflite.BuiltinOperator.CONV_2D, tflite.BuiltinOptions.Conv2DOptions)
    writer.operator(*operator, options, [writer.numbers[source], weights, bias], [output])


def _add(writer: _Writer, layer: Layer) -> None:
    output = writer.tensor(layer.name, writer.shapes[layer.inputs[0]])
    options = writer.table("AddOptions", FusedActivationFunction=NONE)
    read = [writer.numbers[name] for name in layer.inputs]
    writer.operator(tflite.BuiltinOperator.ADD, tflite.BuiltinOptions.AddOptions, options, read, [output])


def _mean(writer: _Writer, layer: Layer) -> None:
    (source,) = layer.inputs
    axes = np.array([1, 2], np.int32)
    over = writer.tensor(f"{layer.name}_axes", axes.shape, axes)
    output = writer.tensor(layer.name, (1, writer.shapes[source][3]))
    options = writer.table("ReducerOptions", KeepDims=False)
    operator = (tflite.BuiltinOperator.MEAN, tflite.BuiltinOptions.ReducerOptions, options)
    writer.operator(*operator, [writer.numbers[source], over], [output])


def _dense(writer: _Writer, layer: Layer) -> None:
    assert layer.weight is not None
    assert layer.bias is not None
    weights = writer.tensor(f"{layer.name}_weight", layer.weight.shape, layer.weight)
    bias = writer.tensor(f"{layer.name}_bias", layer.bias.shape, layer.bias)
    output = writer.tensor(layer.name, (1, layer.weight.shape[0]))
    options = writer.table("FullyConnectedOptions", FusedActivationFunction=NONE)
    operator = (tflite.BuiltinOperator.FULLY_CONNECTED, tflite.BuiltinOptions.FullyConnectedOptions, options)
    writer.operator(*operator, [writer.numbers[layer.inputs[0]], weights, bias], [output])


_WRITERS: dict[str, Callable[[_Writer, Layer], None]] = {
    "conv": _convolution,
    "depthwise": _convolution,
    "add": _add,
    "mean": _mean,
    "dense": _dense,
}
