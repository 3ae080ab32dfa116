"""Candidates that are built and wait for a board."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path

from compile.tuning.candidate import Figure


@dataclass(eq=False)
class Job:
    """A built candidate, in a folder, and whom to tell."""

    folder: Path
    answer: Future[Figure]
    lost_on: list[str] = field(default_factory=list)
    """Boards that were lost while it was on them."""
    frozen_on: list[str] = field(default_factory=list)
    """Boards that did not answer any more after its time was up."""

    def settle(self, figure: Figure) -> None:
        """Tell what it came to."""
        if self.answer.set_running_or_notify_cancel():
            self.answer.set_result(figure)

    def give_up(self, error: Exception) -> None:
        """Tell that it was never measured."""
        if self.answer.set_running_or_notify_cancel():
            self.answer.set_exception(error)


class Jobs:
    """A queue that boards take from. Once closed, every job in it and put to it is given up."""

    def __init__(self) -> None:
        self._waiting: deque[Job] = deque()
        self._changed = threading.Condition()
        self._error: Exception | None = None

    def put(self, job: Job, *, first: bool = False) -> None:
        """Add a job, before all others if it was tried before."""
        with self._changed:
            if self._error is None:
                self._waiting.appendleft(job) if first else self._waiting.append(job)
                self._changed.notify_all()
                return
        job.give_up(self._error)

    def take(self, board: str, is_alone: Callable[[], bool], is_over: Callable[[], bool]) -> Job | None:
        """The next job for a board; None when the queue is closed, or others want the board: `is_over`.
        A job that lost this board before goes to another one, unless there is none: `is_alone`.
        """
        while not is_over():  # asked without the lock: it may take a while
            with self._changed:
                if self._error is not None:
                    return None
                for job in self._waiting:
                    if board not in (*job.lost_on, *job.frozen_on) or is_alone():
                        self._waiting.remove(job)
                        return job
                self._changed.wait(0.5)
        return None

    def close(self, error: Exception) -> None:
        """Give up what waits, and what comes."""
        with self._changed:
            self._error = self._error or error
            waiting, self._waiting = self._waiting, deque()
            self._changed.notify_all()
        for job in waiting:
            job.give_up(error)
