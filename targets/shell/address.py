"""Which board, and what the user's boards.toml says of it."""

from __future__ import annotations

from dataclasses import dataclass

from targets.cores import Core


@dataclass(frozen=True)
class ShellAddress:
    """A board that has a shell."""

    spec: str
    """As the user names it."""
    destination: str
    """As the program that reaches it names it."""
    core: Core | None = None
    prefix: tuple[str, ...] = ()
    """The words before the agent's command on the board."""
