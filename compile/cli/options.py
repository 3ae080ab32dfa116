"""Options that several commands share, and how the values of options are read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from compile.source import Colour
from targets.errors import UserError

if TYPE_CHECKING:
    from targets.cores import Core
    from targets.pin import Pin

json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON document instead of tables."
)
trust_option = click.option(
    "--trust",
    is_flag=True,
    help="Files may run code of their own when they are read: pickles, and what a bundle's manifest names "
    "(docs/security.md).",
)
device_option = click.option(
    "--device",
    default="emulated",
    show_default=True,
    metavar="DEVICE",
    help="emulated[:CORE|BOARD], ssh://USER@HOST, adb://SERIAL, rpc://HOST:PORT, "
    "tracker://HOST:PORT/KEY, a name in boards.toml, or host: this machine.",
)
tuning_log_option = click.option(
    "--tuning-log",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Tuning logs, a folder per core.  [default: your own, then those that come with Armature]",
)
ghz_option = click.option(
    "--ghz",
    type=click.FloatRange(min=0, min_open=True),
    metavar="GHZ",
    help="The core's clock, for estimated times.  [default: the board's]",
)


class PinType(click.ParamType):  # type: ignore[type-arg]  # generic only in newer versions of click
    """CPUs of a board."""

    name = "pin"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Pin:  # noqa: ARG002
        """What is meant. UserError where it is neither numbers nor a core."""
        from targets.pin import parse_pin

        try:
            return parse_pin(str(value))
        except UserError as error:
            raise UserError(f"--pin: {error}") from error


pin_option = click.option(
    "--pin",
    type=PinType(),
    metavar="CPUS|CORE",
    help="On a board: the CPUs to run on, as in 4-5, or all of one core, as in cortex-a72.  "
    "[default: those of boards.toml, or what the board chooses]",
)


def chosen_core(cpu: str | None, board: str | None) -> Core | None:
    """What --cpu or --board names; None where neither is given. UserError where both are."""
    from targets.boards import big_core, find_board
    from targets.cores import find_core

    if cpu is not None and board is not None:
        raise UserError("--cpu and --board both choose the core: give one of them.")
    if board is not None:
        return big_core(find_board(board))
    return None if cpu is None else find_core(cpu)


def chosen_cores(cpu: str | None, board: str | None) -> list[Core]:
    """The same where --cpu may name several, with commas between them; each once."""
    if cpu is None or board is not None or "," not in cpu:
        return [core] if (core := chosen_core(cpu, board)) else []
    from targets.cores import find_core

    return list({core.name: core for core in map(find_core, cpu.split(","))}.values())


def pairs(values: Sequence[str], option: str, example: str) -> dict[str, str]:
    """The NAME=VALUE of an option; UserError, which shows `example`, where one is no such pair."""
    found = dict(value.partition("=")[::2] for value in values)
    for name, value in found.items():
        if not name or not value:
            raise UserError(f"{option} wants {example}, not '{name}{value and '=' + value}'.")
    return found


class ColourType(click.ParamType):  # type: ignore[type-arg]  # generic only in newer versions of click
    """R,G,B on the scale 0 to 1; `positive`: without 0."""

    name = "colour"

    def __init__(self, positive: bool = False) -> None:
        self._positive = positive

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Colour:
        """The three numbers; click's error where they are not three such numbers."""
        try:
            red, green, blue = map(float, str(value).split(","))
        except ValueError:
            self.fail(f"'{value}' is not R,G,B, as in 0.485,0.456,0.406", param, ctx)
        if not all(0 <= each <= 1 and (each or not self._positive) for each in (red, green, blue)):
            wanted = "above 0 and at most 1" if self._positive else "from 0 to 1"
            self.fail(f"'{value}' is not {wanted}: divide by 255 what pixels of 0 to 255 want", param, ctx)
        return red, green, blue


def shapes(values: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """The NAME=1x3x224x224 of --input; UserError where one is no such thing."""
    found = {}
    for name, text in pairs(values, "--input", "NAME=1x3x224x224").items():
        extents = text.split("x")
        if not all(extent.isdecimal() and int(extent) > 0 for extent in extents):
            raise UserError(f"--input wants NAME=1x3x224x224, not '{name}={text}'.")
        found[name] = tuple(map(int, extents))
    return found
