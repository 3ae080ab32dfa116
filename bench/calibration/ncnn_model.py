"""Writes a network as ncnn's files: NAME.param, the graph as text, and NAME.bin, the weights.

Format: ncnn's wiki, "param and model file structure" and "operators".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from bench.calibration.network import IMAGE, Layer

MAGIC = 7767517
_CLIP_0_6 = "9=3 -23310=2,0.0,6.0"
_FLOAT32 = bytes(4)
"""What precedes weights of float32."""


def write_ncnn(layers: Sequence[Layer], size: int, path: Path) -> None:
    """Write `path`.param and `path`.bin; the image is `size` x `size` pixels of three channels."""
    lines = [f"Input {IMAGE} 0 1 {IMAGE} 0={size} 1={size} 2=3"]
    readers = Counter(name for layer in layers for name in layer.inputs)
    copies: dict[str, list[str]] = {}  # ncnn wants a copy of its own for each reader
    blobs = 1
    lines += _split(IMAGE, readers, copies)
    for layer in layers:
        sources = [copies[name].pop() if name in copies else name for name in layer.inputs]
        wires = f"{len(sources)} 1 {' '.join(sources)} {layer.name}"
        lines.append(f"{_TYPES[layer.kind]} {layer.name} {wires} {_settings(layer)}")
        lines += _split(layer.name, readers, copies)
        blobs += 1
    blobs += sum(readers[name] for name in copies)
    text = "\n".join([str(MAGIC), f"{len(lines)} {blobs}", *lines]) + "\n"
    Path(f"{path}.param").write_text(text)
    Path(f"{path}.bin").write_bytes(b"".join(_weights(layer) for layer in layers))


_TYPES = {
    "conv": "Convolution",
    "depthwise": "ConvolutionDepthWise",
    "add": "BinaryOp",
    "mean": "Pooling",
    "dense": "InnerProduct",
}


def _split(name: str, readers: Counter[str], copies: dict[str, list[str]]) -> list[str]:
    number = readers[name]
    if number < 2:
        return []
    copies[name] = [f"{name}_{copy}" for copy in range(number)]
    return [f"Split {name}_split 1 {number} {name} {' '.join(copies[name])}"]


def _settings(layer: Layer) -> str:
    if layer.kind == "add":
        return "0=0"
    if layer.kind == "mean":
        return "0=1 4=1"
    assert layer.weight is not None
    outputs, size = layer.weight.shape[0], layer.weight.size
    if layer.kind == "dense":
        return f"0={outputs} 1=1 2={size}"
    groups = f" 7={outputs}" if layer.kind == "depthwise" else ""
    activation = f" {_CLIP_0_6}" if layer.relu6 else ""
    window = f"1={layer.kernel} 3={layer.stride} 4={layer.kernel // 2}"
    return f"0={outputs} {window} 5=1 6={size}{groups}{activation}"


def _weights(layer: Layer) -> bytes:
    if layer.weight is None or layer.bias is None:
        return b""
    return _FLOAT32 + layer.weight.tobytes() + layer.bias.tobytes()
