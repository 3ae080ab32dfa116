"""How many instructions an inference takes, and that a core is given none it lacks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from targets.cores import find_core
from targets.emulated.profile import REPEAT, instructions_per_repeat
from tests.e2e.conftest import Armature

pytestmark = pytest.mark.emulator


def test_mobilenet_v2_on_cortex_a72(armature: Armature, tmp_path: Path) -> None:
    result = armature("compile", "mobilenet_v2", "--cpu", "cortex-a72", "-o", tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    image = tmp_path / "image.bin"
    np.random.default_rng(0).standard_normal((1, 3, 224, 224)).astype("float32").tofile(image)
    command = [str(tmp_path / "out" / "run"), "--input", str(image), "--repeat", REPEAT]
    count = instructions_per_repeat(find_core("cortex-a72"), command, 1, 2)
    # TVM 0.27's default takes 950 million, the best engines 102 to 126 (REFERENCE section 2).
    assert 80e6 < count <= 200e6
