"""`armature board`: what one does with a board itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click

from compile.cli import show_estimates
from compile.cli.console import print_json, print_parts, stage
from compile.cli.doctoring import doctor_command
from compile.cli.farming import drain_command, list_command, serve_command
from compile.cli.options import ghz_option, json_option, pairs
from compile.cli.registering import register_command
from targets.errors import UserError


@click.group("board", short_help="Boards themselves: check, list, serve, register, drain; price any program.")
def board_group() -> None:
    """Work with a board itself."""


for command in (doctor_command, list_command, serve_command, register_command, drain_command):
    board_group.add_command(command)

PROFILE_HELP = """Estimate what any aarch64 Linux program costs on an emulated board.

Instructions and cache misses are counted, cycles and milliseconds estimated by
the model that `armature bench` uses, so that other engines can be held against
ours. Where an argument has {repeat}, the program is run with --few and with
--many in its place, and the two are subtracted: loading does not count. Else it
is run once, and the whole run counts. What it prints is dropped.

\b
Examples:
  armature board profile --device emulated:rpi4 -- build/mnv2/run --input x.bin --repeat {repeat}
  armature board profile --sysroot arm64-root --env OMP_NUM_THREADS=1 -- ./benchmark {repeat}
"""


@board_group.command("profile", help=PROFILE_HELP, short_help="Estimate what any aarch64 program costs.")
@click.argument("program", nargs=-1, required=True, type=click.UNPROCESSED, metavar="PROGRAM [ARGS]...")
@click.option(
    "--device", default="emulated", show_default=True, metavar="DEVICE", help="emulated[:CORE|BOARD]."
)
@click.option("--few", type=click.IntRange(min=0), default=1, show_default=True, help="First {repeat}.")
@click.option("--many", type=click.IntRange(min=1), default=2, show_default=True, help="Second {repeat}.")
@click.option(
    "--top",
    type=click.IntRange(min=0),
    default=20,
    show_default=True,
    help="Functions to list, hottest first.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=600,
    show_default=True,
    help="The longest that one run may take, in seconds.",
)
@click.option(
    "--sysroot", type=click.Path(path_type=Path), help="Stands for / where it has a file (qemu -L)."
)
@click.option("--env", "variables", multiple=True, metavar="NAME=VALUE", help="Set for the program.")
@ghz_option
@json_option
def profile_command(
    program: Sequence[str],
    device: str,
    few: int,
    many: int,
    top: int,
    timeout: float,
    sysroot: Path | None,
    variables: Sequence[str],
    ghz: float | None,
    as_json: bool,
) -> None:
    with stage("load"):
        from targets.emulated.launch import Launch
        from targets.emulated.program import profile_program
        from targets.emulated.spec import find_emulated
    emulated = find_emulated(device)
    if emulated is None:
        raise UserError(f"{device} cannot count instructions: that needs --device emulated[:CORE|BOARD].")
    emulated = replace(emulated, ghz=ghz or emulated.ghz)
    launch = Launch(sysroot, pairs(variables, "--env", "NAME=VALUE"), timeout)
    with stage("profile"):
        report = profile_program(program, emulated, few, many, launch)
    print_json(report.to_json(top)) if as_json else print_parts(show_estimates.program(report, top))
