"""How a kind writes its space and its default once: `decide` asks for each number, best candidate first.

`First` takes the best of each, which is the default. `Sampled` draws with `Schedule.sample_categorical` and
annotates the root block with the draw, so that a trace is the list of a point's draws: it replays on the
kernel as it was before scheduling, and what a search changes in it counts. `Given` takes draws back, and
refuses those that are no candidates any more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from tvm.s_tir import Schedule

_PREFIX = "armature.draw."


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
    """Draws that `sch` makes and its trace keeps.

    All candidates are equally likely; with `wished`, what that chooses is drawn.
    """

    def __init__(self, sch: Schedule, wished: Decider | None = None) -> None:
        self.sch = sch
        self.wished = wished
        self.root = sch.get_sblock("root")

    def choose(self, name: str, candidates: Sequence[int]) -> int:
        """A draw; of a single candidate, none is made."""
        wish = None if self.wished is None else candidates.index(self.wished.choose(name, candidates))
        if len(candidates) == 1:
            return candidates[0]
        probabilities = [1.0 / len(candidates)] * len(candidates)
        draw = self.sch.sample_categorical(list(candidates), probabilities, wish)
        self.sch.annotate(self.root, _PREFIX + name, draw)
        return int(self.sch.get(draw))


class InadmissibleError(ValueError):
    """A draw that is not among the candidates: of another version's space, or beside other draws."""


@dataclass(frozen=True)
class Given:
    """Draws made before; what was not drawn is the best candidate. Raises InadmissibleError."""

    draws: Mapping[str, int]

    def choose(self, name: str, candidates: Sequence[int]) -> int:
        """What was drawn."""
        drawn = self.draws.get(name, candidates[0])
        if drawn not in candidates:
            raise InadmissibleError(f"{name} is {drawn}, but may be {', '.join(map(str, candidates))}")
        return drawn


@dataclass(frozen=True)
class Part:
    """The decisions of one part of a kernel, each named `part.name` to `whole`."""

    whole: Decider
    part: str

    def choose(self, name: str, candidates: Sequence[int]) -> int:
        """As `whole` chooses."""
        return self.whole.choose(f"{self.part}.{name}", candidates)


class Shared:
    """Asks once for each name; where that is no candidate the next time, it takes the best there is."""

    def __init__(self, decider: Decider) -> None:
        self.decider = decider
        self.chosen: dict[str, int] = {}

    def choose(self, name: str, candidates: Sequence[int]) -> int:
        """What was chosen before, if it may be."""
        if name not in self.chosen:
            self.chosen[name] = self.decider.choose(name, candidates)
        chosen = self.chosen[name]
        return chosen if chosen in candidates else candidates[0]


def draws_of(sch: Schedule) -> dict[str, int]:
    """What the trace of `sch` drew, by name."""
    annotations = sch.get(sch.get_sblock("root")).annotations
    return {
        str(key).removeprefix(_PREFIX): int(value)
        for key, value in annotations.items()
        if str(key).startswith(_PREFIX)
    }


def draws_in(trace: Any) -> dict[str, int]:
    """The same from MetaSchedule's JSON of a trace, which need not be replayed for it."""
    instructions, decisions = trace
    chosen = dict(decisions)
    values: dict[str, int] = {}
    draws: dict[str, int] = {}
    for number, (kind, inputs, attributes, outputs) in enumerate(instructions):
        if kind == "SampleCategorical":
            values[outputs[0]] = int(attributes[0][chosen[number]])
        elif kind == "Annotate" and str(attributes[0]).startswith(_PREFIX):
            draws[attributes[0].removeprefix(_PREFIX)] = values[inputs[1]]
    return draws


def dividing_first(value: int, candidates: Iterable[int]) -> list[int]:
    """`candidates` up to `value` (or `value` alone), those that divide it before the others."""
    small = [each for each in candidates if each <= value] or [value]
    return sorted(small, key=lambda each: value % each != 0)
