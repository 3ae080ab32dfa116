"""Writes a network as MNN's file, by MNN's own converter from the .tflite file."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.calibration.network import Layer
from bench.calibration.tflite_model import write_tflite
from targets.errors import UserError

_CONVERT = "from MNN.tools import mnnconvert; mnnconvert.main()"


def write_mnn(layers: Sequence[Layer], size: int, path: Path) -> None:
    """Write `path`.mnn; the image is [1, `size`, `size`, 3]. Raises UserError when MNN is not installed."""
    write_tflite(layers, size, path)
    files = ["--modelFile", f"{path}.tflite", "--MNNModel", f"{path}.mnn", "--bizCode", "armature"]
    command = [sys.executable, "-c", _CONVERT, "-f", "TFLITE", *files]
    subprocess.run(command, check=False, capture_output=True)
    if not Path(f"{path}.mnn").is_file():
        raise UserError("MNN's converter did not work: pip install 'armature[calibration]' installs it")
