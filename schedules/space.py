"""How a kind writes its space and its default once: `decide` asks for each number, best candidate first.

`First` takes the best, which is the default; `Sampled` draws with `Schedule.sample_categorical`, so that a
trace keeps the draw. Later steps hold drawn numbers as constants: a trace replays as it is, but changing
a draw inside it changes nothing, so a search draws anew rather than mutating.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from tvm.s_tir import Schedule


class Decider(Protocol):
    """Where decisions come from."""

    def choose(self, name: str, candidates: Sequence[int]) -> int:
        """One of `candidates`, which are not empty and sorted best first, for the decision `name`."""


class First:
    """The best candidate of each."""

    def choose(self, name: str, candidates: Sequence[int]) -> int:  # noqa: ARG002
        """The first."""
        return candidates[0]


class Sampled:
    """Draws that `sch` makes and its trace keeps, all candidates being equally likely."""

    def __init__(self, sch: Schedule) -> None:
        self.sch = sch

    def choose(self, name: str, candidates: Sequence[int]) -> int:  # noqa: ARG002
        """A draw; of a single candidate, none is made."""
        if len(candidates) == 1:
            return candidates[0]
        probabilities = [1.0 / len(candidates)] * len(candidates)
        return int(self.sch.get(self.sch.sample_categorical(list(candidates), probabilities)))


def dividing_first(value: int, candidates: Iterable[int]) -> list[int]:
    """`candidates` up to `value` (or `value` alone), those that divide it before the others."""
    small = [each for each in candidates if each <= value] or [value]
    return sorted(small, key=lambda each: value % each != 0)
