"""This machine, or an emulated board on it, as a board for others: its agent in the foreground."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from typing import NoReturn

from targets.agent.build import build_agent
from targets.device import FORMS
from targets.emulated.spec import find_emulated
from targets.errors import UserError


def serve(spec: str | None, options: Sequence[str]) -> NoReturn:
    """Become the agent (`run serve`), with such options; it ends as that does.

    Raises UserError where this machine is no board, and none is to be emulated.
    """
    words = [*_before(spec), str(build_agent()), "serve", *options]
    os.execv(words[0], words)


def _before(spec: str | None) -> list[str]:
    if spec is None:
        if platform.system() == "Linux" and platform.machine() in ("aarch64", "arm64"):
            return []
        raise UserError(
            f"this machine is a {platform.machine()}, and the agent is for 64-bit ARM Linux: "
            "give --device emulated:CORE to serve an emulated board"
        )
    emulated = find_emulated(spec)
    if emulated is None:
        raise UserError(f"{spec!r} cannot be served: --device is emulated[:CORE|BOARD] (of {FORMS})")
    from targets.emulated.board import emulator_of

    return emulator_of(emulated.core)[0]
