"""Where candidates get their figures: what every device must do, and the emulated board, in processes of this
machine. Boards over RPC are in `board_measurer`.
"""

from __future__ import annotations

import os
import tempfile
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Protocol

from compile.tuning.board_health import BoardStatus
from compile.tuning.candidate import Draws, Figure, estimate_candidate
from compile.tuning.task import Task
from compile.tuning.units import ESTIMATED
from compile.tuning.workers import end_pool, with_failures, worker_pool
from targets.cores import Core
from targets.device import FORMS, find_boards
from targets.emulated.spec import find_emulated
from targets.errors import UserError
from targets.pin import Pin
from targets.user_boards import find_user_board

BUILD_SECONDS = 60.0
"""The longest that a candidate may take beside its run: scheduling, compiling, linking, pricing."""
CANDIDATE_SECONDS = 2.0
"""What one candidate takes a CPU, about."""


class Measurer(Protocol):
    """Gives candidates their figures, `capacity` at a time, while its context lasts."""

    @property
    def core(self) -> Core:
        """What candidates are scheduled for."""

    @property
    def capacity(self) -> int:
        """How many candidates are worth having under way."""

    @property
    def device(self) -> str:
        """The device, as records name it."""

    @property
    def basis(self) -> str:
        """What its figures are, of `records.BASES`."""

    @property
    def seconds_per_trial(self) -> float:
        """About how long a candidate takes, of all that are under way at a time."""

    @property
    def boards(self) -> tuple[BoardStatus, ...]:
        """The boards that it measures on, as they are now; none where there are no such things."""

    @property
    def waiting(self) -> str:
        """Why nothing can be measured now; empty when it can."""

    def submit(self, task: Task, draws: Draws) -> Future[Figure]:
        """Measure a candidate. Whatever goes wrong with it becomes the figure's failure; the future raises
        DeviceError when there is nothing any more to measure on.
        """

    def __enter__(self) -> Measurer:
        """Get ready."""

    def __exit__(self, *_: object) -> None:
        """End everything under way; no process is left."""


@dataclass
class EmulatedMeasurer:
    """Each candidate alone on the emulated board: cycles are estimated, `workers` candidates at a time."""

    core: Core
    workers: int = field(default_factory=lambda: os.cpu_count() or 1)
    seconds: float = 60.0
    """The longest that a candidate may run, in the emulator's time."""
    basis: str = ESTIMATED
    _pool: Any = None
    _scratch: tempfile.TemporaryDirectory[str] | None = None

    @property
    def capacity(self) -> int:
        """One waits for every one that runs."""
        return 2 * self.workers

    @property
    def device(self) -> str:
        """The emulated core."""
        return f"emulated:{self.core.name}"

    @property
    def seconds_per_trial(self) -> float:
        """As seen on 2 CPUs of a PC."""
        return CANDIDATE_SECONDS / self.workers

    @property
    def boards(self) -> tuple[BoardStatus, ...]:
        """None: processes of this machine."""
        return ()

    @property
    def waiting(self) -> str:
        """Never: it needs nobody."""
        return ""

    def submit(self, task: Task, draws: Draws) -> Future[Figure]:
        """Schedule, build, run, compare and price a candidate."""
        assert self._pool is not None
        arguments = (task.text, task.roles, dict(draws), self.core, self.seconds)
        seconds = self.seconds + BUILD_SECONDS
        future = self._pool.schedule(estimate_candidate, args=arguments, timeout=seconds)
        return with_failures(future, seconds)

    def __enter__(self) -> EmulatedMeasurer:
        """Start no process yet: the pool does when there is work."""
        self._scratch = tempfile.TemporaryDirectory(prefix="armature-tune-")
        self._pool = worker_pool(self.workers, self._scratch.name)
        return self

    def __exit__(self, *_: object) -> None:
        """Kill what runs, and remove what it left."""
        if self._pool is not None:
            end_pool(self._pool)
        if self._scratch is not None:
            self._scratch.cleanup()


def measurer_for(
    device: str, core: Core | None, workers: int | str | None, pin: Pin | None = None
) -> Measurer:
    """What measures on `device` for `core`, building with so many processes at a time, or on the Ray cluster
    at the address `workers`; on a board, on the CPUs `pin`, or else those that boards.toml says.

    Raises UserError where these do not go together, DeviceError when no board answers.
    """
    boards = find_boards(device)
    if boards is not None:
        mine = find_user_board(device)
        core = core or (mine.core if mine else None)
        if core is None:
            raise UserError(f"{device} does not say which core to tune for: add --cpu CORE or --board BOARD.")
        if isinstance(workers, str):
            raise UserError(f"{workers} measures on the emulated board only, and {device} is none.")
        from compile.tuning.board_measurer import board_measurer

        pin = pin or (mine.pin if mine else None)
        return board_measurer(device, boards, core, workers or os.cpu_count() or 1, pin=pin)
    emulated = find_emulated(device, core)
    if emulated is None:
        raise UserError(f"{device} cannot be searched on: a device is one of {FORMS}.")
    if pin is not None:
        raise UserError(f"--pin is for a board: {device} has one CPU.")
    if core is not None and core.name != emulated.core.name:
        raise UserError(f"--device {device} is a {emulated.core.name} and no {core.name}: name one of them.")
    if isinstance(workers, str):
        from compile.tuning.ray_measurer import RayMeasurer

        return RayMeasurer(emulated.core, address=workers)
    return EmulatedMeasurer(emulated.core, workers or os.cpu_count() or 1)
