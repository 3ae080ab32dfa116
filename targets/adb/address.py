"""How a phone or a board is reached by adb."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass

from targets.errors import UserError
from targets.shell.address import ShellAddress
from targets.user_boards import UserBoard

# As `adb devices` lists them: R58M12ABCDE, emulator-5554, 192.168.1.7:5555, adb-x._adb-tls-connect._tcp.
_FORM = re.compile(r"adb://(?P<serial>[\w\[][\w.:%()\[\]-]*)/?")


@dataclass(frozen=True)
class AdbAddress(ShellAddress):
    """A device of adb's; its destination is its serial."""

    def command(self, *words: str) -> list[str]:
        """adb for that device."""
        return [find_adb(), "-s", self.destination, *words]


def find_adb() -> str:
    """The user's adb; UserError without."""
    adb = shutil.which("adb")
    if adb is None:
        raise UserError("adb not found: apt-get install adb, or put Android's platform-tools on PATH")
    return adb


def parse_address(spec: str, board: UserBoard | None = None, name: str = "") -> AdbAddress:
    """adb://SERIAL, with what the user's board of that name adds. UserError for other forms."""
    found = _FORM.fullmatch(spec)
    if found is None:
        raise UserError(
            f"unknown device {spec!r}: a device over adb is adb://SERIAL, as `adb devices` lists it"
        )
    board = board or UserBoard(spec)
    return AdbAddress(name or spec, found["serial"], board.core, board.prefix)
