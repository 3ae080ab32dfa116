"""This machine as a device: C libraries that were compiled for it, run in this process."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

import armature
from targets.board_state import BoardState
from targets.cores import Core
from targets.device import HOST
from targets.errors import DeviceError, UserError
from targets.host import host_core
from targets.pin import Pin


class HostProgram:
    """A C library in this process: see `targets.device.Program`."""

    def __init__(self, network: armature.Network) -> None:
        """Of a network that is loaded."""
        self._network = network
        self._inputs: Sequence[NDArray[Any]] = ()

    def run(self, *inputs: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        """See `targets.device.Program`."""
        try:
            return self._network(*inputs)
        except (armature.ArmatureError, TypeError, ValueError) as error:
            raise DeviceError(f"{HOST} failed while running the network: {error}") from error

    def take(self, *inputs: NDArray[Any]) -> None:
        """See `targets.device.Program`."""
        self._inputs = inputs

    def time(self, inferences: int) -> tuple[float, ...]:
        """See `targets.device.Program`."""
        outputs = self.run(*self._inputs)
        return tuple(self._timed(outputs) for _ in range(inferences))

    def _timed(self, outputs: Sequence[NDArray[Any]]) -> float:
        start = time.perf_counter()
        self._network(*self._inputs, out=outputs)
        return time.perf_counter() - start


class HostDevice:
    """This machine: see `targets.device.Device`."""

    spec = HOST
    session_timeout = 0.0

    def __init__(self) -> None:
        """Raises UserError where it is no machine that is compiled for."""
        self.core: Core | None = host_core()
        self.description = f"this machine ({self.core})"
        self.features = self.core.features

    def load(self, library: Path) -> HostProgram:
        """Raises UserError: TVM's runtime for a bundle is the board's."""
        raise UserError(f"{library} is a bundle's, which runs on ARM boards: compile with --target host.")

    def load_c_library(self, library: Path) -> HostProgram:
        """See `targets.device.Device`."""
        try:
            return HostProgram(armature.load(library))
        except armature.ArmatureError as error:
            raise DeviceError(f"{HOST} failed while loading {library.name}: {error}") from error

    def state(self) -> BoardState:
        """Raises UserError: nothing here says what speaks against a time."""
        raise UserError(
            "This machine's clocks and load are not watched, so a time here would be worth nothing.\n"
            "Time the folder's own program (run --repeat N --json), or measure a board (--device ssh://USER@HOST)."
        )

    def pin(self, pin: Pin) -> None:  # noqa: ARG002
        """Raises UserError: it would keep this whole process on these CPUs, the compiler too."""
        raise UserError(f"{HOST} is not pinned to CPUs: start the command itself by taskset.")

    def set_governor(self, governor: str) -> None:  # noqa: ARG002
        """Raises UserError: nothing here would put it back."""
        raise UserError(f"The governor of {HOST} is yours: sudo cpupower frequency-set -g performance.")


@contextmanager
def open_host() -> Iterator[HostDevice]:
    """The device."""
    yield HostDevice()
