"""The longest that each step with a board may take, in seconds: after that this side ends it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Time-outs of the steps, and how boards that fail are waited for."""

    build: float = 60.0
    """Scheduling, compiling and linking a candidate."""
    connect: float = 30.0
    """A session with a board, and what the board is."""
    load: float = 60.0
    """Sending a candidate with its tensors, and loading it there."""
    run: float = 60.0
    """Its first call, for the result."""
    time: float = 120.0
    """The calls that are timed."""
    probe: float = 5.0
    """Whether a board answers at all. More than the second after which the agent ends a library whose client
    is gone."""
    pause: float = 5.0
    """How long a board is left alone that went out for the first time."""
    wait: float = 300.0
    """How long the search waits while no board, or no tracker, is there."""
