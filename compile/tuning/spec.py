"""A network with its arguments as one word: mobilenet_v2?width=0.35&image=1x3x96x96."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl

from compile.source import Source
from targets.errors import UserError

TUNING_WEIGHTS = "random:0"
"""Schedules do not depend on weights: nobody needs trained ones to tune a registered network."""
_SHAPE = re.compile(r"\d+(x\d+)+")


def read_spec(text: str) -> Source:
    """What `text` names. A value such as 1x3x96x96 is an input's shape, any other an argument.

    Raises UserError where it cannot be read.
    """
    model, _, query = text.partition("?")
    try:
        pairs = parse_qsl(query, strict_parsing=True) if query else []
    except ValueError:
        raise UserError(f"{text!r} is not MODEL?name=value&name=value.") from None
    shapes = {name: value for name, value in pairs if _SHAPE.fullmatch(value)}
    arguments = {name: value for name, value in pairs if name not in shapes}
    is_registered = ":" not in model and not model.endswith(".pt2")
    return Source(
        model,
        arguments,
        TUNING_WEIGHTS if is_registered else None,
        {name: tuple(map(int, value.split("x"))) for name, value in shapes.items()},
    )
