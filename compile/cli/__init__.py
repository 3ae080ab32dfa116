"""The command line: `armature VERB`, and `compile` for `armature compile`. Parses, calls, prints."""

from __future__ import annotations

import logging

import click

import compile as armature
from compile.cli.boards import board_group
from compile.cli.compiling import compile_command
from compile.cli.console import Group
from compile.cli.logs import logs_group
from compile.cli.running import run_command, validate_command
from compile.cli.tables import boards_command, cores_command, models_command, setup_command
from compile.cli.timing import bench_command
from compile.cli.tuning import tune_command

COMMANDS: tuple[click.Command, ...] = (
    compile_command,
    validate_command,
    run_command,
    bench_command,
    tune_command,
    logs_group,
    board_group,
    cores_command,
    boards_command,
    models_command,
    setup_command,
)


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(armature.__version__, prog_name="armature")
@click.option("-v", "--verbose", count=True, help="Say more on standard error (-vv: everything).")
def main(verbose: int) -> None:
    """Compile PyTorch vision models for ARM Cortex-A, and prove on the device that they are right."""
    level = {0: logging.WARNING, 1: logging.INFO}.get(verbose, logging.DEBUG)
    logging.basicConfig(level=level, format="%(levelname)s %(name)s: %(message)s")


for command in COMMANDS:
    main.add_command(command)
compile_main = compile_command
