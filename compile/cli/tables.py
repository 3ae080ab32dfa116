"""`armature cores`, `boards` and `models` list what there is; `armature setup` builds what is missing."""

from __future__ import annotations

import click

from compile.cli import show
from compile.cli.console import print_json, print_parts, stage
from compile.cli.options import json_option


@click.command("cores", help="List the cores that --cpu takes.")
@json_option
def cores_command(as_json: bool) -> None:
    from targets.cores import core_rows

    print_json(core_rows()) if as_json else print_parts(show.cores(core_rows()))


@click.command("boards", help="List the boards that --board and emulated:BOARD take.")
@json_option
def boards_command(as_json: bool) -> None:
    from targets.boards import board_rows

    print_json(board_rows()) if as_json else print_parts(show.boards(board_rows()))


@click.command("models", help="List the registered networks.")
@json_option
def models_command(as_json: bool) -> None:
    from compile.models import model_rows

    with stage("count"):
        rows = model_rows()
    print_json(rows) if as_json else print_parts(show.models(rows))


SETUP_HELP = """Prepare this machine: build the board's program, and look for the emulator.

Runs by itself when a command first needs it; takes about three minutes once.
"""


@click.command("setup", help=SETUP_HELP, short_help="Build what the board needs, once.")
def setup_command() -> None:
    from targets.agent.build import build_agent
    from targets.emulated.board import find_qemu, find_sysroot
    from targets.platforms import LINUX_ARM
    from targets.runner.build import build_runner

    with stage("agent"):
        build_agent()
    with stage("run"):
        build_runner(LINUX_ARM)
    with stage("emulator"):
        find_qemu()
        find_sysroot()
