"""Candidates measured on boards over TVM RPC: built in processes here, and run on all boards at a time.

What must be decided when a board or a candidate fails is in `board_lane`.
"""

from __future__ import annotations

import itertools
import logging
import shutil
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass, field
from pathlib import Path

from pebble import ProcessExpired

from compile.tuning.board_health import BoardHealth, BoardStatus
from compile.tuning.board_jobs import Job, Jobs
from compile.tuning.board_lane import Boards, Lane, Setting
from compile.tuning.board_process import Nature, build_candidate, look
from compile.tuning.candidate import Draws, Figure
from compile.tuning.limits import Limits
from compile.tuning.task import Task
from compile.tuning.units import EMULATOR, MEASURED
from compile.tuning.workers import end_pool, failure_of, worker_pool
from targets.cores import Core
from targets.errors import DeviceError, UserError
from targets.pin import Pin
from targets.place import Place
from targets.shell.board import ShellBoard

BUILD_SECONDS = 1.0
"""What building a candidate takes a CPU, about."""
BOARD_SECONDS = 1.0
"""What measuring it takes a board, about."""
WATCH_SECONDS = 0.5
LOOKS = 3
"""Boards that are asked what they are before a search begins, should the first ones not answer."""

log = logging.getLogger(__name__)


@dataclass
class BoardMeasurer:
    """Each candidate alone on a board, `count` boards at a time."""

    device: str
    places: Boards
    """Where the boards are: one, or all of a tracker's key."""
    core: Core
    basis: str
    """MEASURED, or EMULATOR where the boards are emulated."""
    count: int
    builders: int
    limits: Limits = field(default_factory=Limits)
    pin: Pin | None = None
    """The CPUs of each board that candidates run on; None: those that the board chooses."""
    _session: _Session | None = None

    @property
    def capacity(self) -> int:
        """One is ready for every one on a board, and some are being built."""
        return 2 * self.count + self.builders

    @property
    def seconds_per_trial(self) -> float:
        """The slower of building and measuring."""
        return max(BUILD_SECONDS / self.builders, BOARD_SECONDS / self.count)

    @property
    def boards(self) -> tuple[BoardStatus, ...]:
        """Those seen so far."""
        return self._session.health.boards if self._session else ()

    @property
    def waiting(self) -> str:
        """Why no board is in use, once that is no mere change of boards."""
        health = self._session.health if self._session else None
        if health is None or health.seconds_without < self.limits.pause or not health.troubles:
            return ""
        return f"no board in use, waiting up to {self.limits.wait:g} s: {health.troubles}"

    def submit(self, task: Task, draws: Draws) -> Future[Figure]:
        """Build a candidate, and measure it on the next free board."""
        assert self._session is not None
        return self._session.submit(task, draws)

    def measure(self, folder: Path) -> Future[Figure]:
        """Measure what is built in `folder`, which holds a library and its call (`board_process`)."""
        assert self._session is not None
        job = Job(folder, Future())
        self._session.jobs.put(job)
        return job.answer

    def __enter__(self) -> BoardMeasurer:
        """Start a lane for each board."""
        self._session = _Session(self)
        return self

    def __exit__(self, *_: object) -> None:
        """Kill what runs; the boards see that their client is gone."""
        if self._session is not None:
            self._session.end()
        if isinstance(self.places, ShellBoard):
            self.places.close()


class _Session:
    """What a measurer has while its context lasts."""

    def __init__(self, measurer: BoardMeasurer) -> None:
        limits = measurer.limits
        self.health = BoardHealth(limits.pause)
        self.jobs = Jobs()
        self._core, self._limits, self._device = measurer.core, limits, measurer.device
        self._folder = tempfile.TemporaryDirectory(prefix="armature-tune-")
        self._numbers = itertools.count()
        self._stop = threading.Event()
        self._builders = worker_pool(measurer.builders)
        self._setting = Setting(
            measurer.device,
            measurer.places,
            measurer.core,
            measurer.basis == EMULATOR,
            limits,
            self.health,
            self.jobs,
            self._stop,
            measurer.pin,
        )
        self._lanes = [Lane(self._setting) for _ in range(measurer.count)]
        threading.Thread(target=self._watch, daemon=True).start()

    def submit(self, task: Task, draws: Draws) -> Future[Figure]:
        """See BoardMeasurer."""
        folder = Path(self._folder.name) / str(next(self._numbers))
        folder.mkdir()
        job = Job(folder, Future())
        job.answer.add_done_callback(lambda _: shutil.rmtree(folder, ignore_errors=True))
        arguments = (task.text, task.roles, dict(draws), self._core, folder)
        built = self._builders.schedule(build_candidate, args=arguments, timeout=self._limits.build)
        built.add_done_callback(lambda future: self._is_built(job, future))
        return job.answer

    def _is_built(self, job: Job, built: Future[None]) -> None:
        if self._stop.is_set() or built.cancelled():
            return
        error = built.exception()
        if error is None:
            self.jobs.put(job)
        else:
            job.settle(Figure(None, failure_of(error, self._limits.build)))

    def end(self) -> None:
        """See BoardMeasurer."""
        self._stop.set()
        self.jobs.close(DeviceError(f"{self._device}: the search was ended"))
        end_pool(self._builders)
        for lane in self._lanes:
            lane.end()
        self._folder.cleanup()

    def _watch(self) -> None:
        """Let boards back in that answer again; end the search when none was in use for too long."""
        while not self._stop.wait(WATCH_SECONDS):
            self.health.try_again(self._setting.answers)
            if self.health.seconds_without > self._limits.wait:
                said = self.health.troubles or "none was offered"
                self.jobs.close(
                    DeviceError(
                        f"{self._device}: no board could be used for {self._limits.wait:g} s ({said}). "
                        "What was found is in the log; the same command goes on from there."
                    )
                )


def board_measurer(
    device: str,
    boards: Boards,
    core: Core,
    builders: int,
    limits: Limits | None = None,
    pin: Pin | None = None,
) -> BoardMeasurer:
    """What measures for `core` on the board or boards that `device` names, after asking one what it is.

    Raises UserError when its CPU is not such a core or it has not the CPUs `pin`, DeviceError when none
    answers.
    """
    limits = limits or Limits()
    count = 1 if isinstance(boards, Place) else boards.count()
    nature = _look(device, boards, limits, pin)
    lacking = sorted(core.features - nature.features)
    if lacking:
        raise UserError(
            f"{device} is no {core.name}: its CPU lacks {', '.join(lacking)}. Name its core with --cpu."
        )
    basis = MEASURED if nature.emulated is None else EMULATOR
    return BoardMeasurer(device, boards, core, basis, count, builders, limits, pin)


def _look(device: str, boards: Boards, limits: Limits, pin: Pin | None) -> Nature:
    pool = worker_pool(1)
    try:
        for place in _places(boards):
            try:
                asked = pool.schedule(look, args=(device, place, pin), timeout=limits.connect)
                nature: Nature = asked.result()
                return nature
            except FutureTimeoutError:
                failure = f"{device} ({place}) did not answer in {limits.connect:g} s: does another hold it?"
            except (DeviceError, ProcessExpired) as error:
                failure = str(error)
            log.warning("%s", failure)
    finally:
        end_pool(pool)
    raise DeviceError(failure)


def _places(boards: Boards) -> Iterator[Place]:
    if isinstance(boards, Place):
        yield boards
    else:
        yield from (boards.request() for _ in range(LOOKS))
