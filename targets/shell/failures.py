"""What a board, and the program that reaches it, say when something is wrong: rows of words and ours."""

from __future__ import annotations

import re
from collections.abc import Sequence

from targets.errors import DeviceError, LostError
from targets.shell.address import ShellAddress

Rows = tuple[tuple[str, type[DeviceError], str], ...]
"""What is said, what is raised, and its words: the first that is found holds."""

SHELL: Rows = (
    (r"No space left|Disk quota", DeviceError, "has no room for the agent in FOLDER: free some"),
    (r"Read-only file system|cannot create directory|can't create|Permission denied", DeviceError,
     "cannot store the agent in FOLDER ({said})"),
    (r"Exec format error|cannot execute binary|ELF: not found|Syntax error|not executable", DeviceError,
     "cannot run a program for 64-bit ARM ({said})"),
)  # fmt: skip
"""What every board's shell says."""


def explain(
    address: ShellAddress, said: Sequence[str], rows: Rows, otherwise: str, folder: str = ""
) -> DeviceError:
    """The error for what was said, with `otherwise` for words that are in no row."""
    for pattern, error, words in rows:
        line = next((line for line in said if re.search(pattern, line)), None)
        if line is not None:
            text = words.replace("DESTINATION", address.destination).replace("FOLDER", folder)
            text = text.replace("HOST", address.destination.rpartition("@")[2])
            return error(f"{address.spec} {text.replace('{said}', line)}")
    return LostError(f"{address.spec} {otherwise}: {said[-1] if said else 'it said nothing'}")
