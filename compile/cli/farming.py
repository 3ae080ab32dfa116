"""`armature board list`, `serve` and `drain`: the boards of a farm."""

from __future__ import annotations

import click
from rich.markup import escape

from compile.cli.console import print_json, print_parts, stage
from compile.cli.options import json_option

LIST_HELP = """List boards, and what they are doing.

Those of boards.toml, or of the DEVICEs: addresses and names of boards, and
tracker://HOST:PORT[/KEY]. An agent answers without a session, whoever has its
board; of a board over SSH or adb its files are read.

\b
Examples:
  armature board list
  armature board list tracker://127.0.0.1:9190 --json
"""

SERVE_HELP = """Serve this machine as a board, in the foreground: start its agent.

On loopback unless --host says otherwise, which needs a token (docs/security.md).
Elsewhere than on 64-bit ARM, --device emulated:CORE serves an emulated board.
Ctrl-C, or `armature board drain`, ends it. A bundle's `run serve` does the same
on a board that has no Python.

\b
Examples:
  armature board serve --port 9090
  armature board serve --device emulated:cortex-a72 --tracker 127.0.0.1:9190 --key a72
"""

DRAIN_HELP = """Let a board finish its session and take no more.

Its agent leaves the tracker, sends away who waits, and ends with exit code 0 when
its session is over. Of tracker://HOST:PORT/KEY all boards of the key are drained.
"""


@click.command("list", help=LIST_HELP, short_help="List boards, and what they are doing.")
@click.argument("devices", nargs=-1, metavar="[DEVICE]...")
@json_option
def list_command(devices: tuple[str, ...], as_json: bool) -> None:
    with stage("look"):
        from compile.cli import show_farm
        from targets.farm import list_boards

        found = list_boards(devices)
    print_json(show_farm.rows(found)) if as_json else print_parts(show_farm.table(found))


@click.command("serve", help=SERVE_HELP, short_help="Serve this machine as a board.")
@click.option("--device", metavar="DEVICE", help="emulated[:CORE|BOARD].  [default: this machine]")
@click.option("--host", metavar="ADDRESS", help="Where to listen.  [default: 127.0.0.1]")
@click.option("--port", metavar="N", help="[default: any that is free]")
@click.option("--token-file", metavar="FILE", help="Holds the token that clients must have.")
@click.option("--tracker", metavar="HOST:PORT", help="Offer the board there; needs --key.")
@click.option("--key", metavar="KEY", help="The kind of board, as clients ask for it.")
@click.option("--session-timeout", metavar="SECONDS", help="The longest a client may stay.")
@click.option("--memory-limit", metavar="MIB", help="The most a client's library may have.")
@click.option("--disk-limit", metavar="MIB", help="The most a client may store.")
@click.option("--work-dir", metavar="DIR", help="Where sessions keep their files.")
def serve_command(device: str | None, **options: str | None) -> None:
    with stage("agent"):
        from targets.serve import serve

    given = {f"--{name.replace('_', '-')}": value for name, value in options.items() if value is not None}
    serve(device, [word for pair in given.items() for word in pair])


@click.command("drain", help=DRAIN_HELP, short_help="Let a board finish its session and take no more.")
@click.argument("device")
@json_option
def drain_command(device: str, as_json: bool) -> None:
    with stage("ask"):
        from compile.cli import show_farm
        from targets.farm import drain_boards

        found = drain_boards(device)
    if as_json:
        print_json(show_farm.rows(found))
        return
    for seen in found:
        rest = f"it ends when {seen.doing} is done" if seen.doing else "it has ended"
        print_parts([f"{escape(seen.name)} ({escape(seen.place)}) is drained: {escape(rest)}"])
