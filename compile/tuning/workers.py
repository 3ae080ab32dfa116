"""Worker processes that are killed when they take too long, and end when this process does."""

from __future__ import annotations

import ctypes
import multiprocessing
import signal
import tempfile
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any

from pebble import ProcessExpired, ProcessPool

from compile.tuning.candidate import Figure

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def worker_pool(workers: int, scratch: str | None = None) -> Any:
    """So many processes, started when there is work. Their temporary files go to the folder `scratch`: one
    that is killed cannot remove them.
    """
    context = multiprocessing.get_context("spawn")
    return ProcessPool(workers, initializer=_start, initargs=(scratch,), context=context)


def end_pool(pool: Any) -> None:
    """Kill what runs."""
    pool.stop()
    pool.join()


def _start(scratch: str | None) -> None:
    """Let a worker end when the process that started it does, and leave Ctrl-C to that."""
    tempfile.tempdir = scratch
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
    except Exception as error:
        return Figure(None, failure_of(error, seconds))


def failure_of(error: BaseException, seconds: float) -> str:
    """Why there is no figure, after a worker raised `error` or was ended after so many `seconds`."""
    if isinstance(error, FutureTimeoutError):
        return f"took longer than {seconds:g} s"
    if isinstance(error, ProcessExpired):
        return f"its builder ended with exit code {error.exitcode}"
    return _first_line(error)  # whatever TVM raises for a schedule that it cannot build


def _first_line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0]}" if text else type(error).__name__
