"""A board while it is looked at: what several checks want to know is asked once."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from targets.board_state import BoardState
from targets.cores import Core, find_core
from targets.doctor.kernel import trial
from targets.emulation import why_emulated
from targets.rpc import RpcDevice
from targets.rpc_kernel import RpcKernel, load_kernel

BATCH_SECONDS = 0.5
"""Of a load, between two looks at our own clock."""
MOST_REPEATS = 1000


@dataclass(frozen=True)
class Load:
    """A board that computed for a while, and its states before and after."""

    before: BoardState
    after: BoardState
    seconds: Sequence[float]
    """Of each call of the kernel, in order."""


@dataclass(frozen=True)
class Patient:
    """A connected board. Whatever is asked of it raises DeviceError where it fails."""

    device: RpcDevice
    claimed: Core | None
    """The core that the user says it has."""
    load_seconds: float

    @cached_property
    def info(self) -> Mapping[str, Any]:
        """What the agent says of itself."""
        return self.device.info()

    @cached_property
    def state(self) -> BoardState:
        """As it was found."""
        return self.device.state()

    @cached_property
    def why_emulated(self) -> str | None:
        """None where nothing says that it is not silicon."""
        return why_emulated(self.state)

    @cached_property
    def _trial(self) -> tuple[RpcKernel, NDArray[Any]]:
        with tempfile.TemporaryDirectory() as folder:
            library, arguments, expected = trial(self.claimed or find_core("generic"), Path(folder))
            return load_kernel(self.device, library, arguments), expected

    @property
    def kernel(self) -> RpcKernel:
        """The one that is tried, loaded there."""
        return self._trial[0]

    @property
    def expected(self) -> NDArray[Any]:
        """What it must compute."""
        return self._trial[1]

    @cached_property
    def load(self) -> Load:
        """The board computes, on one thread, for `load_seconds`."""
        before = self.device.state()
        end = time.monotonic() + self.load_seconds
        found = list(self.kernel.sampled(3))
        repeats = min(MOST_REPEATS, max(1, int(BATCH_SECONDS / max(found[-1], 1e-6))))
        while time.monotonic() < end:
            found += self.kernel.sampled(repeats)
        return Load(before, self.device.state(), found)
