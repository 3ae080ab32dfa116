"""Tests that need the emulator are skipped where it is missing, except in CI: there they fail."""

from __future__ import annotations

import os
import shutil

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if shutil.which("qemu-aarch64") or os.environ.get("CI", "").lower() in ("1", "true"):
        return
    skip = pytest.mark.skip(reason="qemu-aarch64 is missing (Debian: qemu-user)")
    for item in items:
        if item.get_closest_marker("emulator"):
            item.add_marker(skip)
