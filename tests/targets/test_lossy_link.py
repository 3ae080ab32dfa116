"""A board over SSH behind a link of 200 ms that loses 5% of the packets each way, in a network namespace."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from targets.device import open_device
from tests.targets import lossy
from tests.targets.board_folder import wait_until
from tests.targets.sshd import SSHD, Sshd
from tests.targets.test_ssh import ip

ONE_WAY, LOST = 0.1, 0.05

pytestmark = [
    pytest.mark.emulator,
    pytest.mark.slow,
    pytest.mark.skipif(not SSHD.exists(), reason="sshd is missing (Debian: openssh-server)"),
]


@pytest.fixture
def far(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sshd]:
    """A board in a network namespace, behind such a link."""
    name, number = f"lossy{os.getpid()}", os.getpid() % 250
    here, there = f"tun{os.getpid()}a", f"tun{os.getpid()}b"
    if not ip("netns", "add", name):
        pytest.skip("network namespaces need root and a kernel that has them")
    command = [sys.executable, lossy.__file__, here, there, str(ONE_WAY), str(LOST)]
    link = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    server = None
    try:
        assert link.stdout is not None
        if link.stdout.readline() != "ready\n":
            pytest.skip("there are no tun devices here")
        near, far = f"10.214.{number}.1", f"10.214.{number}.2"
        assert ip("link", "set", there, "netns", name)
        assert ip("addr", "add", near, "peer", far, "dev", here)
        assert ip("link", "set", here, "up")
        assert ip("-n", name, "addr", "add", far, "peer", near, "dev", there)
        assert ip("-n", name, "link", "set", there, "up")
        assert ip("-n", name, "link", "set", "lo", "up")
        server = Sshd(tmp_path / "board", far, ("ip", "netns", "exec", name))
        monkeypatch.setenv("ARMATURE_CONFIG", str(server.folder / "config"))
        yield server
    finally:
        if server is not None:
            server.stop()
        link.kill()
        link.communicate()
        ip("netns", "del", name)


def test_board_is_used_over_a_slow_link_that_loses_packets(
    far: Sshd,
    tiny_library: Path,
    tiny_inputs: tuple[np.ndarray, np.ndarray],
    tiny_outputs: tuple[np.ndarray, np.ndarray],
) -> None:
    for _ in range(2):
        with open_device("pi") as device:
            got = device.load(tiny_library).run(*tiny_inputs)
            np.testing.assert_allclose(got[0], tiny_outputs[0], rtol=1e-6)
    wait_until(lambda: far.agents() == [], 60)
