"""The engines, run under the profiler in the ARM Python, on the same trained network and image as PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from bench.calibration.arm_python import PROGRAM, SITE, told
from bench.calibration.mnn_model import write_mnn
from bench.calibration.ncnn_model import write_ncnn
from bench.calibration.network import layers_of
from bench.calibration.tflite_model import write_tflite
from compile.models import find_model
from compile.models.mobilenet_v2 import MobileNetV2
from compile.weights import load_weights
from targets.cores import find_core
from targets.emulated.launch import Launch
from targets.emulated.profile import REPEAT, Caches, Profile, profile
from targets.errors import DeviceError

ENGINES = {"ncnn": write_ncnn, "litert": write_tflite, "mnn": write_mnn}
"""By name, which is its runner's too (runners/run_NAME.py): what writes its model file."""

SIZE = 224
TOLERANCE = 1e-3
"""Of the logits' scale: an engine that computes something else is not priced."""

_RUNNERS = Path(__file__).with_name("runners")
_MODEL, _IMAGE, _EXPECTED = "mobilenet_v2", "image.npy", "expected.npy"


def write_models(folder: Path) -> None:
    """Write every engine's model, the image, and what PyTorch makes of it, into `folder`."""
    entry = find_model("mobilenet_v2")
    module = MobileNetV2(1.0, 1000).eval()
    load_weights(module, "imagenet", entry, (1, 3, SIZE, SIZE))
    image = np.random.default_rng(0).standard_normal((1, 3, SIZE, SIZE)).astype(np.float32)
    np.save(folder / _IMAGE, image)
    with torch.no_grad():
        np.save(folder / _EXPECTED, module(torch.from_numpy(image)).numpy())
    layers = layers_of(module)
    for engine, write in ENGINES.items():
        write(layers, SIZE, folder / f"{_MODEL}.{engine}")


def profile_engine(engine: str, core: str, caches: Sequence[Caches], folder: Path) -> Profile:
    """One inference of `engine`, told that it runs on `core`, one thread, with the models of `write_models`.

    Raises DeviceError when it fails or its logits are not PyTorch's.
    """
    root = told(core)
    output = folder / f"{engine}-{core}.npy"
    runner = [str(root / PROGRAM), "-S", str(_RUNNERS / f"run_{engine}.py")]
    arguments = [str(folder / f"{_MODEL}.{engine}"), str(folder / _IMAGE), str(output), REPEAT]
    launch = Launch(root, {"PYTHONHOME": str(root / "usr"), "PYTHONPATH": str(root / SITE)})
    command = [*runner, *arguments]
    found = profile(find_core(core), command, caches, launch=launch)
    _check(engine, np.load(output), np.load(folder / _EXPECTED))
    return found


def _check(engine: str, logits: NDArray[np.float32], expected: NDArray[np.float32]) -> None:
    error = float(np.abs(logits - expected).max() / np.abs(expected).max())
    if not error <= TOLERANCE:
        raise DeviceError(f"{engine}'s logits differ from PyTorch's by {error:.1e} of their scale")
