"""What an agent writes to its log, read as it comes: its last words say more than a lost link."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import IO

LAST_WORDS_SECONDS = 2.0

log = logging.getLogger(__name__)


class AgentLines:
    """A thread that reads a log until it ends; `heard` is told each line."""

    def __init__(self, name: str, stream: IO[str], heard: Callable[[str], None] | None = None) -> None:
        self._name, self._stream, self._heard = name, stream, heard
        self._lines: deque[str] = deque(maxlen=100)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    @property
    def lines(self) -> list[str]:
        """So far."""
        return list(self._lines)

    def last_words(self) -> str:
        """The last line about a session that failed; empty when there is none.

        The link ends before the agent's words about it have been read, so they are waited for a while.
        """
        end = time.monotonic() + LAST_WORDS_SECONDS
        while not (said := self._session_lines()) and time.monotonic() < end:
            time.sleep(0.02)
        return said[-1] if said else ""

    def join(self, seconds: float) -> None:
        """Wait for its end."""
        self._thread.join(seconds)

    def _session_lines(self) -> list[str]:
        return [line for line in self.lines if "session " in line]

    def _read(self) -> None:
        for line in self._stream:
            self._lines.append(line.strip())
            log.debug("%s: %s", self._name, line.strip())
            if self._heard is not None:
                self._heard(line.strip())
