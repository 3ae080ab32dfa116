"""What is taken to a board: the agent, and where needed a C library with its loader."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

PROGRAM = "run"


@dataclass(frozen=True)
class Kit:
    """Files by the names that they have on the board, where they lie in one folder, named by their digest."""

    files: Mapping[str, Path] = field(hash=False)
    loader: str | None = None
    """That of the files which loads the agent; None: the board's own does."""

    @cached_property
    def digest(self) -> str:
        """Of names and contents."""
        each = (
            f"{name} {hashlib.sha256(self.files[name].read_bytes()).hexdigest()}"
            for name in sorted(self.files)
        )
        return hashlib.sha256("\n".join(each).encode()).hexdigest()[:32]

    @property
    def sizes(self) -> dict[str, int]:
        """Bytes by name."""
        return {name: path.stat().st_size for name, path in self.files.items()}

    @property
    def kib(self) -> int:
        """Of all."""
        return sum(self.sizes.values()) // 1024

    def command(self, folder: str) -> str:
        """The shell's words that start the agent, where the files lie in `folder`, quoted as it must be."""
        program = f'"{folder}/{PROGRAM}"'
        if self.loader is None:
            return program
        return f'"{folder}/{self.loader}" --library-path "{folder}" {program}'
