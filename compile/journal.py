"""Results of a long validation, kept in a file as they come, so that an interrupted one goes on from there.

The first line says what they are results of; each further line is one input's. All are JSON.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from targets.errors import UserError

Results = dict[str, Mapping[str, Any]]
"""By the input's name."""


class Journal:
    """What is done, and a file, or none, that takes what comes."""

    def __init__(self, done: Results, file: IO[bytes] | None = None) -> None:
        self.done = done
        self._file = file

    def add(self, name: str, result: Mapping[str, Any]) -> None:
        """Keep a result; it is in the file when this returns."""
        self.done[name] = result
        if self._file is not None:
            self._file.write(_line({"input": name, **result}))
            self._file.flush()


@contextmanager
def open_journal(path: Path | None, subject: Mapping[str, Any]) -> Iterator[Journal]:
    """The journal at `path`, begun where there is none; in memory only where `path` is None.

    A last line that was cut short is dropped. Raises UserError where the file is no journal, or is one of
    another `subject`.
    """
    if path is None:
        yield Journal({})
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("ab+")
    except OSError as error:
        raise UserError(f"Cannot write to {path} ({error.strerror}): give --resume another file.") from error
    with file:
        file.seek(0)
        whole = file.read()
        whole = whole[: whole.rfind(b"\n") + 1]
        done = _results(path, whole, subject)
        file.truncate(len(whole))
        if not whole:
            file.write(_line(subject))
        yield Journal(done, file)


def _line(row: Mapping[str, Any]) -> bytes:
    return (json.dumps(row) + "\n").encode()


def _results(path: Path, whole: bytes, subject: Mapping[str, Any]) -> Results:
    if not whole:
        return {}
    try:
        first, *rows = (json.loads(line) for line in whole.splitlines())
        done = {row.pop("input"): row for row in rows}
        differing = [key for key, value in subject.items() if first.get(key) != value]
    except (ValueError, KeyError, AttributeError, TypeError):
        raise UserError(f"{path} holds no results of a validation: give --resume another file.") from None
    if differing:
        raise UserError(
            f"{path} holds results of another {' and '.join(differing)}: give --resume another file."
        )
    return done
