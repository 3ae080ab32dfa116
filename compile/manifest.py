"""What a bundle says of the network in it: its manifest, and what `run` reads of its interface."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import compile as armature
from compile.build import executed, memory_plan, weight_bytes
from compile.bundle import FORMAT, LABELS
from compile.frontend import Traced
from compile.labels import own_text
from compile.lower import Lowered
from compile.passes.schedule_kernels import Kernel
from compile.source import FRAMES, Source, TensorInfo, spell
from targets.cores import Core
from targets.platforms import Platform

_PACKAGES = ("apache-tvm", "apache-tvm-ffi", "torch", "numpy", "ziglang")


def describe(
    source: Source,
    traced: Traced,
    lowered: Lowered,
    core: Core,
    platform: Platform,
    others: Sequence[Core] = (),
) -> dict[str, Any]:
    """The manifest of a network compiled for `core`, and for `others`, on `platform`, JSON-ready, but for its
    files. What it says of kernels and sizes is of the first core's.
    """
    plan = memory_plan(lowered, core)
    return {
        "format": FORMAT,
        "model": traced.name,
        "task": traced.task,
        "inputs": [_tensor(tensor, _layout(traced)) for tensor in traced.inputs],
        "outputs": [_tensor(tensor) for tensor in traced.outputs],
        "preprocess": traced.preprocess.to_json() if traced.preprocess else None,
        "labels": LABELS if own_text(traced.labels) else traced.labels,
        "platform": platform.name,
        "core": _core(core),
        "cores": [_core(each) for each in (core, *others)],
        "weights": {"source": traced.weights, "sha256": traced.fingerprint(), "bytes": weight_bytes(lowered)},
        "parameters": traced.parameters,
        "multiply_adds": sum(k.workload.multiply_adds for k in lowered.kernels if k.workload),
        "peak_activation_bytes": plan.total_bytes,
        "kernels": [_kernel(kernel) for kernel in executed(lowered, plan)],
        "source": source.to_json(),
        "versions": {
            "armature": armature.__version__,
            **{name: importlib.metadata.version(name) for name in _PACKAGES},
        },
    }


def _core(core: Core) -> dict[str, Any]:
    return {"name": core.name, "llvm": core.llvm, "features": sorted(core.features)}


def _tensor(tensor: TensorInfo, layout: str = "NCHW") -> dict[str, Any]:
    return {
        **asdict(tensor),
        "shape": list(tensor.shape),
        "layout": layout if len(tensor.shape) == 4 else None,
    }


def _layout(traced: Traced) -> str:
    """Of the input."""
    return "NHWC" if traced.preprocess and traced.preprocess.format == FRAMES else "NCHW"


def _kernel(kernel: Kernel) -> dict[str, Any]:
    work = kernel.workload
    return {
        "name": kernel.name,
        "kind": kernel.kind,
        "shape": dict(work.shape) if work else {},
        "multiply_adds": work.multiply_adds if work else 0,
        "schedule": kernel.origin,
    }


def interface_text(traced: Traced) -> str:
    """What `run` reads of the network's inputs and outputs: a line each (targets/agent/src/interface.h)."""
    rows = [("input", tensor) for tensor in traced.inputs] + [("output", tensor) for tensor in traced.outputs]
    return "".join(
        f"{role} {tensor.name} {tensor.dtype} {spell(tensor.shape) or 'scalar'}\n" for role, tensor in rows
    )
