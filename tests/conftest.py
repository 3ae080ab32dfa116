"""Tests that need the emulator are skipped where it is missing, except in CI: there they fail."""

from __future__ import annotations

import os
import shutil

import pytest

# Tests run two files at a time on two CPUs, where PyTorch's threads would wait for each other: 0.35 s for an
# image of MobileNetV2. Before anything imports PyTorch, and for the commands that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if shutil.which("qemu-aarch64") or os.environ.get("CI", "").lower() in ("1", "true"):
        return
    skip = pytest.mark.skip(reason="qemu-aarch64 is missing (Debian: qemu-user)")
    for item in items:
        if item.get_closest_marker("emulator"):
            item.add_marker(skip)
