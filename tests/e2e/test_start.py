"""How the commands start."""

from __future__ import annotations

import subprocess
import sys

SLOW = ("torch", "tvm", "xgboost", "sklearn", "scipy", "pycocotools")
"""Packages that take long to import."""


def test_commands_start_without_what_is_slow_to_import() -> None:
    """So that help and tables come at once, and Ctrl-C finds a command that answers it."""
    program = f"import sys, compile.cli; print([name for name in {SLOW} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
