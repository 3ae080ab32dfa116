"""What an emulated board stands for, as a device's name says it: a core, or a board's biggest one."""

from __future__ import annotations

from dataclasses import dataclass

from targets.boards import Board, big_cluster, big_core, find_board
from targets.cores import AARCH64, Core, find_core
from targets.errors import UserError

EMULATED = "emulated"


@dataclass(frozen=True)
class Emulated:
    """What an emulated board stands for. Raises UserError for a core of 32 bits."""

    core: Core
    board: Board | None = None
    """None where only a core was named."""
    ghz: float | None = None
    """The clock of the board's biggest core; None where nothing says it: a core alone has no clock."""

    def __post_init__(self) -> None:
        if self.core.arch != AARCH64:
            raise UserError(
                f"no emulated board is a {self.core.name}, which has 32 bits: compile it with "
                "--format c-library, and run a program that uses the library on a board, or under qemu-arm"
            )

    @property
    def name(self) -> str:
        """As a device is named: emulated:BOARD or emulated:CORE."""
        return f"emulated:{self.board.name if self.board else self.core.name}"


def find_emulated(spec: str, bundle_core: Core | None = None) -> Emulated | None:
    """What the emulated board `spec` stands for; None where `spec` is another kind of device.

    Raises UserError when it is written wrongly or its core is unknown.
    """
    if spec != EMULATED and not spec.startswith(("emulated:", "emulated/")):
        return None
    name = spec.partition(":")[2]
    if (spec.startswith("emulated:") and name == "") or spec.startswith("emulated/"):
        raise UserError(
            f"unknown device {spec!r}: the emulated board is `emulated`, `emulated:CORE` or `emulated:BOARD`"
        )
    return _core_or_board(name) if name else Emulated(bundle_core or find_core("generic"))


def _core_or_board(name: str) -> Emulated:
    """The core of that name, or the biggest one of the board of that name, at its clock."""
    try:
        core = find_core(name)
    except UserError as no_core:
        try:
            board = find_board(name)
        except UserError as no_board:
            raise UserError(f"{no_core}; {no_board}") from None
        return Emulated(big_core(board), board, big_cluster(board).ghz)
    return Emulated(core)
