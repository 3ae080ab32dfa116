"""The checks of a board, one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from targets.device import find_boards, open_device
from targets.doctor.checks import CHECKS, Check
from targets.doctor.findings import Finding, Verdict, failed, ok
from targets.doctor.patient import Patient
from targets.errors import DeviceError, LostError, UserError
from targets.rpc import RpcDevice
from targets.user_boards import find_user_board

REACHED = "reached"
"""The check before all others."""
EXTRA_SECONDS = 300.0
"""For all but the load; after this the board ends the visit."""

Row = tuple[str, Finding]


def examine(spec: str, seconds: float) -> Iterator[Row]:
    """The name of each check and what it found, as they come; the load takes so many seconds.

    Raises UserError where `spec` is not understood, or something is missing on this machine.
    """
    mine = find_user_board(spec)
    looked = 0
    try:
        with open_device(spec, session_timeout=seconds + EXTRA_SECONDS) as device:
            if not isinstance(device, RpcDevice):
                raise UserError(f"{spec} is no board: give one that an agent serves (docs/boards.md).")
            yield REACHED, ok(device.description)
            patient = Patient(device, device.core or (mine.core if mine else None), seconds)
            for check in CHECKS:
                looked += 1
                yield check.name, _look(check, patient)
    except DeviceError as error:
        name = CHECKS[looked - 1].name if looked else REACHED
        yield name, failed(str(error), _remedy(spec, error))
        for check in CHECKS[looked:]:
            yield (
                check.name,
                Finding(Verdict.NOT_DONE, "the board is lost" if looked else "it is not reached"),
            )


def _look(check: Check, patient: Patient) -> Finding:
    """LostError where the board is gone: there is nothing more to look at."""
    try:
        if check.needs_silicon and patient.why_emulated:
            return Finding(Verdict.NOT_APPLICABLE, f"no silicon: {patient.why_emulated}")
        return check.look(patient)
    except LostError:
        raise
    except DeviceError as error:
        if "crashed" in str(error):  # and the session is over
            raise
        return failed(str(error), "see what the agent wrote to its log there")


def _remedy(spec: str, error: DeviceError) -> str:
    if isinstance(error, LostError) and find_boards(spec) is not None:
        return "see that the board is on, its agent runs and is free (`armature board list`)"
    return "see docs/boards.md for this message"


def is_well(rows: list[Row]) -> bool:
    """Whether nothing failed."""
    return all(finding.verdict is not Verdict.FAILED for _, finding in rows)


def to_json(spec: str, rows: list[Row]) -> dict[str, Any]:
    """For --json."""
    checks = [
        {"check": name, "verdict": each.verdict.value, "said": each.said, "remedy": each.remedy or None}
        for name, each in rows
    ]
    return {"device": spec, "well": is_well(rows), "checks": checks}
