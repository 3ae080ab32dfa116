"""Waiting until a board is cool enough for a measurement that does not end in throttling."""

from __future__ import annotations

import time
from collections.abc import Callable

from compile.measure import Rule
from targets.board_state import BoardState
from targets.board_warnings import COOL, Warning

Tell = Callable[[str], None]
"""Takes a line for whoever waits."""


def cool_down(
    state: Callable[[], BoardState], rule: Rule, tell: Tell, pause: Callable[[float], None] = time.sleep
) -> tuple[Warning, ...]:
    """Wait until the board's hottest CPU zone is at `rule.cool_celsius`, or `rule.cool_seconds` are over; of
    the latter a warning is returned. A board that tells no temperature is not waited for.
    """
    start = hottest = state().hottest
    waited = 0.0
    while hottest is not None and hottest > rule.cool_celsius and waited < rule.cool_seconds:
        if waited == 0:
            limits = f"to {rule.cool_celsius:g} °C, at most {rule.cool_seconds:g} s"
            tell(f"cooling down: {hottest:.0f} °C, {limits}")
        pause(rule.cool_look)
        waited += rule.cool_look
        hottest = state().hottest
    if hottest is not None and hottest > rule.cool_celsius:
        goal = f"from {start:.0f} °C it did not cool to {rule.cool_celsius:g} °C in {waited:g} s"
        return (Warning(f"it began at {hottest:.0f} °C: {goal}", COOL, unreliable=False),)
    if waited > 0 and hottest is not None:
        tell(f"cooled down to {hottest:.0f} °C in {waited:g} s")
    return ()
