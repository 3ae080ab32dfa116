"""What a check says of a board."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Verdict(Enum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    NOT_APPLICABLE = "not applicable"
    """Only silicon could say it, and this is none."""
    NOT_DONE = "not done"
    """What it needs had failed before."""


@dataclass(frozen=True)
class Finding:
    """What was found, and what to do about it."""

    verdict: Verdict
    said: str
    remedy: str = ""


def ok(said: str) -> Finding:
    """All is well."""
    return Finding(Verdict.OK, said)


def warning(said: str, remedy: str) -> Finding:
    """The board works, but this should be known."""
    return Finding(Verdict.WARNING, said, remedy)


def failed(said: str, remedy: str) -> Finding:
    """The board cannot be used, or not measured on, as it is."""
    return Finding(Verdict.FAILED, said, remedy)
