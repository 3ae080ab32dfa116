"""Where candidates get their figures: the emulated board, in processes of this machine."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass, field
from typing import Any, Protocol

from pebble import ProcessExpired, ProcessPool

from compile.tuning.candidate import Draws, Figure, estimate_candidate
from compile.tuning.task import Task
from compile.tuning.units import ESTIMATED
from targets.cores import Core
from targets.device import find_emulated
from targets.errors import UserError

BUILD_SECONDS = 60.0
"""The longest that a candidate may take beside its run: scheduling, compiling, linking, pricing."""
CANDIDATE_SECONDS = 2.0
"""What one candidate takes a CPU, about."""
PR_SET_PDEATHSIG = 1  # linux/prctl.h


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

    def submit(self, task: Task, draws: Draws) -> Future[Figure]:
        """Measure a candidate. Whatever goes wrong with it becomes the figure's failure."""

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

    def submit(self, task: Task, draws: Draws) -> Future[Figure]:
        """Schedule, build, run, compare and price a candidate."""
        assert self._pool is not None
        arguments = (task.text, task.roles, dict(draws), self.core, self.seconds)
        seconds = self.seconds + BUILD_SECONDS
        future = self._pool.schedule(estimate_candidate, args=arguments, timeout=seconds)
        return with_failures(future, seconds)

    def __enter__(self) -> EmulatedMeasurer:
        """Start no process yet: the pool does when there is work."""
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPool(self.workers, initializer=end_with_parent, context=context)
        return self

    def __exit__(self, *_: object) -> None:
        """Kill what runs."""
        if self._pool is not None:
            self._pool.stop()
            self._pool.join()


def end_with_parent() -> None:
    """Let a worker end when the process that started it does, and leave Ctrl-C to that."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def with_failures(future: Future[Figure], seconds: float) -> Future[Figure]:
    """The same, but an exception becomes a figure that says what failed."""
    answer: Future[Figure] = Future()

    def done(_: Future[Figure]) -> None:
        if not answer.set_running_or_notify_cancel():
            return
        answer.set_result(_settled(future.result, seconds))

    future.add_done_callback(done)
    return answer


def _settled(result: Callable[[], Figure], seconds: float) -> Figure:
    try:
        return result()
    except FutureTimeoutError:
        return Figure(None, f"took longer than {seconds:g} s")
    except ProcessExpired as error:
        return Figure(None, f"its builder ended with exit code {error.exitcode}")
    except Exception as error:  # whatever TVM raises for a schedule that it cannot build
        return Figure(None, _first_line(error))


def _first_line(error: Any) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0]}" if text else type(error).__name__


def measurer_for(device: str, workers: int | None) -> Measurer:
    """What measures on `device`, with so many processes at a time. Raises UserError where nothing does."""
    emulated = find_emulated(device)
    if emulated is None:
        raise UserError(f"{device} cannot be searched on: that needs the emulated board.")
    return EmulatedMeasurer(emulated.core, workers or os.cpu_count() or 1)
