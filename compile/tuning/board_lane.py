"""A lane: one board at a time, one candidate at a time on it, and whose fault it is when that fails."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from pebble import ProcessExpired

from compile.tuning import board_process
from compile.tuning.board_health import BoardHealth
from compile.tuning.board_jobs import Job, Jobs
from compile.tuning.board_process import Nature
from compile.tuning.candidate import Figure
from compile.tuning.limits import Limits
from compile.tuning.workers import end_pool, failure_of, worker_pool
from targets.cores import Core
from targets.errors import DeviceError, LostError, UserError
from targets.pin import Pin
from targets.place import Place, answers
from targets.shell.board import ShellBoard
from targets.tracker import Tracker

LOSSES = 3
"""A candidate under which so many boards were lost has lost them."""
RETRY_SECONDS = 1.0
"""Between two attempts at a tracker that is away, or a board that is out."""

TURN_SECONDS = 5.0
"""A board is held that long at least, and longer while nobody else waits for one."""
JOIN_SECONDS = 1.0
LOADING = "loading it"

Boards: TypeAlias = Place | Tracker | ShellBoard
"""One board, those of a tracker's key, or one with a shell, which is connected to when it is asked for."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Setting:
    """What the lanes of a search share."""

    spec: str
    boards: Boards
    core: Core
    is_emulated: bool
    limits: Limits
    health: BoardHealth
    jobs: Jobs
    stop: threading.Event
    pin: Pin | None = None
    asking: set[threading.Thread] = field(default_factory=set)
    """Our own lanes that wait at the tracker."""

    def answers(self, place: Place) -> bool:
        """Whether a board answers at all."""
        return answers(place, self.limits.probe)

    def others_wait(self) -> bool:
        """Whether somebody else wants one of the tracker's boards."""
        with suppress(DeviceError):
            return isinstance(self.boards, Tracker) and self.boards.pending() > len(self.asking)
        return False

    def misfit(self, nature: Nature) -> str:
        """Why a board is not one to be measured on; empty when it is."""
        lacking = sorted(self.core.features - nature.features)
        if lacking:
            return f"its CPU lacks {', '.join(lacking)}, which {self.core.name} has"
        if (nature.emulated is not None) != self.is_emulated:
            return "it is emulated, the others are not" if nature.emulated else "the others are emulated"
        return ""


class Lane:
    """A thread, and the process that it has the board's session in."""

    def __init__(self, setting: Setting) -> None:
        self._at = setting
        self._pool = worker_pool(1)
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Kill the process, once `stop` is set and the queue is closed. The thread may yet wait for a board
        to answer, and starts nothing any more.
        """
        end_pool(self._pool)
        self._thread.join(JOIN_SECONDS)

    def _work(self) -> None:
        while not self._at.stop.is_set():
            try:
                self._step(None, board_process.get_ready)
                self._at.health.wants_board()
                place = self._free_board()
                if place is not None and self._connects(place):
                    self._measure_on(place)
                    continue
            except Exception as error:  # a pool that is stopped raises some, too
                log.debug("lane of %s", self._at.spec, exc_info=True)
                self._at.health.note(_reason(error))
            self._at.stop.wait(RETRY_SECONDS)

    def _free_board(self) -> Place | None:
        boards, health = self._at.boards, self._at.health
        self._at.asking.add(self._thread)
        try:
            place = boards if isinstance(boards, Place) else boards.request(wanted=self._is_wanted)
        except DeviceError as error:  # the tracker is away, or all boards are taken
            health.note(str(error))
            return None
        finally:
            self._at.asking.discard(self._thread)
        return None if health.is_out(place) else place

    def _is_wanted(self) -> bool:
        return not self._at.stop.is_set()

    def _connects(self, place: Place) -> bool:
        """Whether the board is ours now. What fails here is the board's fault, unless another lane has it:
        a board that is not fetched at once offers itself again, and the first offer holds no more.
        """
        health, seconds = self._at.health, self._at.limits.connect
        try:
            nature = self._step(seconds, board_process.connect, self._at.spec, place, self._at.pin)
        except (FutureTimeoutError, DeviceError, ProcessExpired) as error:
            if not health.is_held(place):
                is_there = self._at.answers(place)
                health.failed(place, _reason(error, f"took no client in {seconds:g} s"), answers=is_there)
            return False
        except UserError as error:
            misfit = str(error)  # it has not the CPUs that are asked for
        else:
            misfit = self._at.misfit(nature)
        if misfit:
            health.is_unfit(place, misfit)
            self._release()
        return not misfit

    def _measure_on(self, place: Place) -> None:
        health = self._at.health
        health.takes(place)
        turn = time.monotonic() + TURN_SECONDS

        def is_over() -> bool:
            return time.monotonic() > turn and self._at.others_wait()

        try:
            while (job := self._at.jobs.take(str(place), lambda: health.held < 2, is_over)) is not None:
                if not self._measure(job, place):
                    break
            self._release()
        finally:
            health.leaves(place)

    def _measure(self, job: Job, place: Place) -> bool:
        """Try one candidate; False when the session is not to be used again."""
        limits = self._at.limits
        what, seconds = LOADING, limits.load
        try:
            self._step(seconds, board_process.load, job.folder)
            what, seconds = "running it", limits.run
            wrong = self._step(seconds, board_process.run)
            what, seconds = "timing it", limits.time
            figure = Figure(None, wrong) if wrong else Figure(self._step(seconds, board_process.seconds))
        except FutureTimeoutError:
            self._took_too_long(job, place, f"{what} took longer than {seconds:g} s")
        except (LostError, ProcessExpired) as error:
            self._lost(job, place, _reason(error), was_called=what != LOADING)
        except CancelledError:
            self._at.jobs.put(job, first=True)
            raise
        except DeviceError as error:
            job.settle(Figure(None, str(error)))
        except Exception as error:
            if self._at.stop.is_set():
                raise
            job.settle(Figure(None, failure_of(error, seconds)))
        else:
            self._at.health.did_well(place)
            job.settle(figure)
            return True
        return False

    def _took_too_long(self, job: Job, place: Place, reason: str) -> None:
        """The candidate hangs if its board answers once it is ended; else the board may be frozen."""
        if self._at.answers(place):
            job.settle(Figure(None, reason))
            return
        self._at.health.failed(place, "does not answer", answers=False)
        job.frozen_on.append(str(place))
        if len(job.frozen_on) > 1:
            job.settle(Figure(None, f"{reason}, and {' and '.join(job.frozen_on)} did not answer after it"))
        else:
            self._at.jobs.put(job, first=True)

    def _lost(self, job: Job, place: Place, reason: str, *, was_called: bool) -> None:
        """The board's fault, unless it comes again and again when this candidate is called."""
        is_there = self._at.answers(place)
        self._at.health.failed(place, reason if is_there else "does not answer", answers=is_there)
        if was_called:
            job.lost_on.append(str(place))
        if len(job.lost_on) >= LOSSES:
            job.settle(Figure(None, f"its board was lost {LOSSES} times: {', '.join(job.lost_on)}"))
        else:
            self._at.jobs.put(job, first=True)

    def _release(self) -> None:
        with suppress(FutureTimeoutError, ProcessExpired, DeviceError):
            self._step(self._at.limits.probe, board_process.release)

    def _step(self, seconds: float | None, function: Callable[..., Any], *arguments: Any) -> Any:
        """Do it in the process; raises what it raises, or FutureTimeoutError when that had to be killed."""
        return self._pool.schedule(function, args=arguments, timeout=seconds).result()


def _reason(error: BaseException, timed_out: str = "") -> str:
    if isinstance(error, FutureTimeoutError):
        return timed_out
    if isinstance(error, ProcessExpired):
        return f"the process that spoke with it ended with exit code {error.exitcode}"
    return str(error)
