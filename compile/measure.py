"""How often to time an inference, and what may be said of the times: medians that hold, or a warning."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from targets.board_warnings import Warning

TimeInferences = Callable[[int], Sequence[float]]
"""Runs so many inferences and gives the seconds of each."""


@dataclass(frozen=True)
class Rule:
    """When to stop warming up, and when to stop measuring. Seconds are those spent in inferences."""

    warm_inferences: int = 3
    """The first ones touch memory for the first time and fill the caches."""
    warm_seconds: float = 1.0
    """A governor that follows the load takes some tenths of a second to raise the clock."""
    warm_agreement: float = 0.02
    """Warm is when the medians of two batches in turn differ by no more."""
    warm_limit: float = 10.0
    """Seconds after which it is measured as it is; what goes on changing is then told as a drift."""
    batch_seconds: float = 0.5
    """Long enough that the link to the board matters little, short enough to stop soon."""
    batch_least: int = 3
    batch_most: int = 2000
    precision: float = 0.01
    """Half the width of the median's interval, as a part of it: finer than what a schedule gains."""
    least_inferences: int = 20
    """Of fewer, a tenth and nine tenths are single values."""
    least_batches: int = 3
    """A first, a middle and a last part, to see a drift."""
    most_inferences: int = 100_000
    seconds: float = 30.0
    """After so long it is not stable, and says so."""
    cool_celsius: float = 60.0
    """Where it may begin: 20 below where a Raspberry Pi lowers its clock, above what most boards idle at."""
    cool_seconds: float = 60.0
    """The longest to wait for that: what has not cooled by then will not, for its heat sink or its place."""
    cool_look: float = 2.0
    """Seconds between looks: to look is work, which heats."""


@dataclass(frozen=True)
class Measurement:
    """The times of a network's inferences on a board."""

    seconds: tuple[float, ...]
    """Of each inference, in their order."""
    medians: tuple[float, ...]
    """Of each batch, in their order."""
    warm_up: int
    """Inferences before, not in `seconds`."""
    stable: bool
    """Whether the median was known to `precision` in time."""
    precision: float

    def percentile(self, part: float) -> float:
        """Seconds below which `part` per cent of the inferences were."""
        return float(np.percentile(self.seconds, part))

    @property
    def median_error(self) -> float:
        """Half the width of the median's 95% interval, as a part of the median."""
        return median_error(self.seconds)

    @property
    def spread(self) -> float:
        """From p10 to p90, as a part of the median."""
        return (self.percentile(90) - self.percentile(10)) / self.percentile(50)

    @property
    def drift(self) -> float:
        """How much slower the last third's median is than the first third's, as a part of the latter."""
        third = max(1, len(self.seconds) // 3)
        first, last = np.median(self.seconds[:third]), np.median(self.seconds[-third:])
        return float(last / first - 1)


@dataclass(frozen=True)
class Ratio:
    """How many times as long as another's a network's inferences take, of batches timed in turns."""

    median: float
    p10: float
    p90: float
    turns: int


def ratio(found: Measurement, other: Measurement) -> Ratio:
    """That of two measurements made in turns: of each turn's medians, so that a drift is in both."""
    turns = [one / two for one, two in zip(found.medians, other.medians, strict=False)]
    p10, median, p90 = (float(np.percentile(turns, part)) for part in (10, 50, 90))
    return Ratio(median, p10, p90, len(turns))


def measure(time: TimeInferences, rule: Rule, warm: Callable[[], None] = lambda: None) -> Measurement:
    """Warm up, call `warm`, then time batches of inferences until the median is known, or the time is up."""
    return measure_in_turns([time], rule, warm)[0]


def measure_in_turns(
    times: Sequence[TimeInferences], rule: Rule, warm: Callable[[], None] = lambda: None
) -> tuple[Measurement, ...]:
    """The same for several networks: a batch of each, in their order, again and again, until all medians are
    known. What a board does meanwhile, it does to all alike. Each has the time of one alone.
    """
    courses = [_Course(time, rule, *_warm_up(time, rule)) for time in times]
    warm()
    while not all(course.is_over for course in courses):
        for course in courses:
            if not course.is_out:
                course.go_on()
    return tuple(course.measurement() for course in courses)


@dataclass
class _Course:
    """One network on its way to a measurement."""

    time: TimeInferences
    rule: Rule
    warm_up: int
    latest: float
    """Seconds of an inference, at the end of the warm-up."""
    found: list[float] = field(default_factory=list)
    medians: list[float] = field(default_factory=list)

    @property
    def is_known(self) -> bool:
        enough = (
            len(self.found) >= self.rule.least_inferences and len(self.medians) >= self.rule.least_batches
        )
        return enough and median_error(self.found) <= self.rule.precision

    @property
    def is_out(self) -> bool:
        """Whether its time is up."""
        is_late = sum(self.found) >= self.rule.seconds and len(self.medians) > 0
        return is_late or len(self.found) >= self.rule.most_inferences

    @property
    def is_over(self) -> bool:
        return self.is_out or self.is_known

    def go_on(self) -> None:
        """Time a batch."""
        batch = self.time(_batch(self.latest, self.rule, self.rule.seconds - sum(self.found)))
        self.found.extend(batch)
        self.medians.append(float(np.median(batch)))

    def measurement(self) -> Measurement:
        rule = self.rule
        return Measurement(
            tuple(self.found), tuple(self.medians), self.warm_up, self.is_known, rule.precision
        )


def median_error(values: Sequence[float]) -> float:
    """Half the width of a 95% confidence interval of the median, as a part of it; infinite for fewer than 8.

    It is between two of the sorted values, and supposes no distribution: Le Boudec, Performance Evaluation
    of Computer and Communication Systems, 2010, theorem 2.1, with the normal approximation of table A.1,
    rounded outwards.
    """
    rank = median_rank(len(values))
    if rank < 1:
        return math.inf
    ordered = np.sort(values)
    return float((ordered[-rank] - ordered[rank - 1]) / 2 / np.median(ordered))


def median_rank(count: int) -> int:
    """Which value from below, and from above, bounds the median of `count` with 95%; 0: none does."""
    return max(0, math.floor((count - 1.96 * math.sqrt(count)) / 2))


MOST_SPREAD = 0.10
"""From p10 to p90: a board with one thing to do stays within some per cent."""
MOST_DRIFT = 0.03
"""From the first third to the last: beyond the median's own error, so that it is a trend."""


def timing_warnings(found: Measurement) -> tuple[Warning, ...]:
    """What the times themselves say against the figure."""
    return tuple(_timing_warnings(found))


def _timing_warnings(found: Measurement) -> Iterator[Warning]:
    if not found.stable:
        error = found.median_error
        known = f"is known to {error:.1%} only" if math.isfinite(error) else "is of too few inferences"
        yield Warning(
            f"not stable: after {sum(found.seconds):.0f} s of inferences the median {known}",
            "measure longer (--seconds), on a board with nothing else to do",
        )
    if found.spread > MOST_SPREAD:
        yield Warning(
            f"from p10 to p90 it varies by {found.spread:.0%} of the median",
            "end what else runs there, set the governor to performance, keep it on one cluster (--pin)",
        )
    if abs(found.drift) > MOST_DRIFT:
        slower, why = ("slower", "throttling?") if found.drift > 0 else ("faster", "still warming up?")
        yield Warning(
            f"it became {abs(found.drift):.0%} {slower} while it was measured: {why}",
            "cool the board, set the governor to performance, and measure again, longer (--seconds)",
        )


def _warm_up(time: TimeInferences, rule: Rule) -> tuple[int, float]:
    """How many inferences it took, and the median of the last batch."""
    first = time(rule.warm_inferences)
    spent, done, latest = sum(first), len(first), float(np.median(first))
    agreed = False
    while (spent < rule.warm_seconds or not agreed) and spent < rule.warm_limit:
        if done >= rule.most_inferences:
            break
        batch = time(_batch(latest, rule, rule.warm_limit - spent))
        median = float(np.median(batch))
        agreed = abs(median - latest) <= rule.warm_agreement * latest
        spent, done, latest = spent + sum(batch), done + len(batch), median
    return done, latest


def _batch(each: float, rule: Rule, left: float) -> int:
    """Inferences of a batch, where one takes `each` seconds and `left` seconds are left."""
    wanted = min(rule.batch_seconds, left) / max(each, 1e-9)
    return min(max(round(wanted), rule.batch_least), rule.batch_most)
