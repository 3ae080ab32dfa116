"""The cycle model's known error, and the model files that the engines are given to find it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tflite
import torch

from bench.calibration.ncnn_model import write_ncnn
from bench.calibration.network import Layer, layers_of
from bench.calibration.published import PUBLISHED
from bench.calibration.tflite_model import write_tflite
from compile.models.mobilenet_v2 import MobileNetV2
from targets.emulated.error import CALIBRATION

SIZE = 32


@pytest.fixture(scope="module")
def network() -> MobileNetV2:
    torch.manual_seed(0)
    return MobileNetV2(0.35, 10).eval()


@pytest.fixture(scope="module")
def layers(network: MobileNetV2) -> list[Layer]:
    return layers_of(network)


@pytest.fixture(scope="module")
def calibration() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(CALIBRATION.read_text())
    return document


def test_the_layers_are_the_network(network: MobileNetV2, layers: list[Layer]) -> None:
    image = torch.from_numpy(np.random.default_rng(0).standard_normal((1, 3, SIZE, SIZE)).astype("float32"))
    values = {"image": image}
    for layer in layers:
        values[layer.name] = _compute(layer, [values[name] for name in layer.inputs])
    with torch.no_grad():
        expected = network(image)
    assert torch.allclose(values[layers[-1].name], expected, atol=1e-5)


def _compute(layer: Layer, inputs: list[torch.Tensor]) -> torch.Tensor:
    if layer.kind == "add":
        return inputs[0] + inputs[1]
    if layer.kind == "mean":
        return inputs[0].mean((2, 3))
    assert layer.weight is not None
    assert layer.bias is not None
    weight, bias = torch.from_numpy(layer.weight), torch.from_numpy(layer.bias)
    if layer.kind == "dense":
        return torch.nn.functional.linear(inputs[0], weight, bias)
    groups = weight.shape[0] if layer.kind == "depthwise" else 1
    result = torch.nn.functional.conv2d(inputs[0], weight, bias, layer.stride, layer.kernel // 2, 1, groups)
    return result.clamp(0, 6) if layer.relu6 else result


def test_ncnn_files_agree_with_each_other(layers: list[Layer], tmp_path: Path) -> None:
    write_ncnn(layers, SIZE, tmp_path / "net")
    magic, counts, *lines = (tmp_path / "net.param").read_text().splitlines()
    written = [name for line in lines for name in _blobs(line)[1]]
    read = [name for line in lines for name in _blobs(line)[0]]
    assert magic == "7767517"
    assert counts == f"{len(lines)} {len(set(written))}"
    assert len(read) == len(set(read)), "each blob has one reader"
    assert set(read) == set(written) - {layers[-1].name}
    weighted = [layer for layer in layers if layer.weight is not None and layer.bias is not None]
    floats = sum(layer.weight.size + layer.bias.size for layer in weighted)  # type: ignore[union-attr]
    assert (tmp_path / "net.bin").stat().st_size == 4 * (floats + len(weighted))


def _blobs(line: str) -> tuple[list[str], list[str]]:
    _, _, inputs, outputs, *rest = line.split()
    return rest[: int(inputs)], rest[int(inputs) : int(inputs) + int(outputs)]


def test_tflite_file_holds_every_layer(layers: list[Layer], tmp_path: Path) -> None:
    write_tflite(layers, SIZE, tmp_path / "net")
    model = tflite.Model.GetRootAsModel((tmp_path / "net.tflite").read_bytes(), 0)
    graph = model.Subgraphs(0)
    padded = sum(layer.weight is not None and layer.weight.ndim == 4 and layer.kernel > 1 for layer in layers)
    assert graph.OperatorsLength() == len(layers) + padded
    assert list(graph.Tensors(graph.Inputs(0)).ShapeAsNumpy()) == [1, SIZE, SIZE, 3]
    assert list(graph.Tensors(graph.Outputs(0)).ShapeAsNumpy()) == [1, 10]


def test_every_published_latency_was_estimated(calibration: dict[str, Any]) -> None:
    rows = [row for entry in calibration["cores"].values() for row in entry["rows"]]
    published = {(row.engine, row.device, row.milliseconds) for row in PUBLISHED}
    assert {(row["engine"], row["board"], row["published_ms"]) for row in rows} == published
    for row in rows:
        assert row["estimated_ms"] / row["published_ms"] - 1 == pytest.approx(row["error"], abs=2e-3)
        assert abs(row["error"]) <= (0.20 if row["silicon_is_this_core"] else 0.25)


def test_the_error_of_a_core_is_its_worst(calibration: dict[str, Any]) -> None:
    for entry in calibration["cores"].values():
        errors = [abs(row["error"]) for row in entry["rows"] if row["silicon_is_this_core"]]
        assert entry["error"] == max(errors)


@pytest.mark.parametrize("engine", ["ncnn", "litert"])
@pytest.mark.parametrize("core", ["cortex-a53", "cortex-a55"])
def test_kernels_for_a_core_price_lowest_on_it(calibration: dict[str, Any], engine: str, core: str) -> None:
    cycles = {
        row["told"]: row["core_cycles"] + row["memory_cycles"]
        for row in calibration["engines"]
        if (row["engine"], row["core"]) == (engine, core)
    }
    assert cycles[core] < cycles["cortex-a72"]
