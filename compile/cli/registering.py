"""`armature board register`: boards over SSH and adb, held and offered at a tracker."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.markup import escape

from compile.cli.console import FAILED, print_json, screen, stage
from compile.cli.options import json_option
from targets.errors import UserError

if TYPE_CHECKING:
    from targets.relay.registration import Registered

REGISTER_HELP = """Hold boards by SSH or adb, and offer them at a tracker, in the foreground.

On the farm's machine: each DEVICE, ssh://USER@HOST, adb://SERIAL or a name of
boards.toml, is connected, its agent started there, and offered under a port of this
machine's loopback. Clients must have the token (--token-file, ARMATURE_TOKEN_FILE or
ARMATURE_TOKEN). A board whose link is lost is connected anew, and so is the tracker.

Ctrl-C ends it, and what it started on the boards; so does `armature board drain` of
all of them. Exit code 1 where a board was out of reach when it ended.

\b
Examples:
  armature board register pi1 pi2 --key rpi4 --token-file token
  armature board register ssh://pi@10.0.0.7 --tracker 127.0.0.1:9190 --key rpi4
"""
_WAIT_SECONDS = 0.25


@click.command("register", help=REGISTER_HELP, short_help="Hold boards by SSH or adb, offered at a tracker.")
@click.argument("devices", nargs=-1, required=True, metavar="DEVICE...")
@click.option(
    "--tracker", default="127.0.0.1:9190", show_default=True, metavar="HOST:PORT", help="Offer them there."
)
@click.option("--key", required=True, metavar="KEY", help="The kind of boards, as clients ask for it.")
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    metavar="N",
    help="The first board's port here, the next one's N+1.  [default: any that are free]",
)
@click.option(
    "--token-file", type=click.Path(path_type=Path), metavar="FILE", help="The token of the farm's clients."
)
@json_option
def register_command(
    devices: tuple[str, ...],
    tracker: str,
    key: str,
    port: int | None,
    token_file: Path | None,
    as_json: bool,
) -> None:
    with stage("load"):
        from targets.device import find_tracker
        from targets.relay.registration import UNREACHABLE, Farm, check_key, find_linked
        from targets.token import FILE_VARIABLE, MAKE_ONE, find_token

        place = find_tracker(f"tracker://{tracker}")
        if place is None:
            raise UserError(f"--tracker wants HOST:PORT, not {tracker!r}")
        token = find_token(token_file)
        if not token:
            raise UserError(
                f"a farm's boards are behind a token: give --token-file, or set {FILE_VARIABLE}. "
                f"Make one: {MAKE_ONE}"
            )
        farm = Farm(find_linked(devices), place.place, check_key(key), port or 0, token, _tell)
    with _asked_to_end() as stop, farm:
        while not stop.wait(_WAIT_SECONDS) and not farm.is_over:
            pass
    if as_json:
        print_json([asdict(seen) for seen in farm.seen])
    if any(seen.state == UNREACHABLE for seen in farm.seen):
        sys.exit(FAILED)


def _tell(seen: Registered) -> None:
    details = {"unreachable": seen.last_error, "no tracker": seen.last_error, "free": f"at {seen.at}"}
    detail = details.get(seen.state, f"client {seen.client}" if seen.client else "")
    line = f"{escape(seen.board)}: {seen.state}" + (f": {escape(detail)}" if detail else "")
    screen.print(line, soft_wrap=True)


@contextmanager
def _asked_to_end() -> Iterator[threading.Event]:
    """Set by Ctrl-C and SIGTERM; a second one ends this at once."""
    stop = threading.Event()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def ask(_number: int, _frame: object) -> None:
        restore()
        stop.set()

    for number in before:
        signal.signal(number, ask)
    try:
        yield stop
    finally:
        restore()
