"""Writes a network as MNN's file, by MNN's own converter, from ONNX: there a convolution pads by itself."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import onnx
from onnx import helper, numpy_helper

from bench.calibration.network import IMAGE, Layer
from targets.errors import UserError

OPSET = 13
_CONVERT = "from MNN.tools import mnnconvert; mnnconvert.main()"


def write_mnn(layers: Sequence[Layer], size: int, path: Path) -> None:
    """Write `path`.mnn; the image is [1, 3, `size`, `size`]. Raises UserError when MNN is not installed."""
    onnx.save(_model(layers, size), f"{path}.onnx")
    files = ["--modelFile", f"{path}.onnx", "--MNNModel", f"{path}.mnn", "--bizCode", "armature"]
    command = [sys.executable, "-c", _CONVERT, "-f", "ONNX", *files]
    subprocess.run(command, check=False, capture_output=True)
    if not Path(f"{path}.mnn").is_file():
        raise UserError("MNN's converter did not work: pip install 'armature[calibration]' installs it")


def _model(layers: Sequence[Layer], size: int) -> onnx.ModelProto:
    nodes, weights = [], []
    for layer in layers:
        if layer.weight is not None and layer.bias is not None:
            weights.append(numpy_helper.from_array(layer.weight, f"{layer.name}_weight"))
            weights.append(numpy_helper.from_array(layer.bias, f"{layer.name}_bias"))
        nodes += _nodes(layer)
    float32 = onnx.TensorProto.FLOAT
    limits = [helper.make_tensor(name, float32, [], [value]) for name, value in (("zero", 0.0), ("six", 6.0))]
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info(IMAGE, float32, (1, 3, size, size))],
        [helper.make_tensor_value_info(layers[-1].name, float32, None)],
        [*weights, *limits],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])


def _nodes(layer: Layer) -> list[onnx.NodeProto]:
    name, inputs = layer.name, list(layer.inputs)
    parameters = [f"{name}_weight", f"{name}_bias"]
    if layer.kind == "add":
        return [helper.make_node("Add", inputs, [name])]
    if layer.kind == "mean":
        pooled = helper.make_node("GlobalAveragePool", inputs, [f"{name}_pixels"])
        return [pooled, helper.make_node("Flatten", [f"{name}_pixels"], [name])]
    if layer.kind == "dense":
        return [helper.make_node("Gemm", [*inputs, *parameters], [name], transB=1)]
    assert layer.weight is not None
    sums = f"{name}_sums" if layer.relu6 else name
    convolution = helper.make_node(
        "Conv",
        [*inputs, *parameters],
        [sums],
        group=layer.weight.shape[0] if layer.kind == "depthwise" else 1,
        pads=[layer.kernel // 2] * 4,
        strides=[layer.stride] * 2,
    )
    return [convolution, *([helper.make_node("Clip", [sums, "zero", "six"], [name])] if layer.relu6 else [])]
