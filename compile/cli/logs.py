"""`armature logs`: what the tuning logs hold, and how they are kept."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from compile.cli import show_logs
from compile.cli.console import FAILED, print_json, print_parts
from compile.cli.options import json_option

if TYPE_CHECKING:
    from compile.tuning.records import Log

folder_argument = click.argument(
    "folder", required=False, type=click.Path(path_type=Path, file_okay=False, exists=True)
)


@click.group("logs", short_help="Show, merge and clean up tuning logs.")
def logs_group() -> None:
    """Tuning logs: a folder per core, with a line per record.

    Without FOLDER, `show` and `check` read all that a compile reads: your own (where
    `armature tune` writes) and those that come with Armature. `prune` changes your own.
    """


@logs_group.command("show")
@folder_argument
@json_option
def show_command(folder: Path | None, as_json: bool) -> None:
    """List the best record of every kernel, with its part of the core's peak and its age."""
    rows = [row for log in _read_logs(folder) for row in _best_rows(log)]
    print_json(rows) if as_json else print_parts(show_logs.best(rows))


@logs_group.command("check")
@folder_argument
@json_option
def check_command(folder: Path | None, as_json: bool) -> None:
    """Tell which records this version's spaces do not have any more. Exit code 1 when there are such."""
    found = {
        str(log.folder): [f"{record}: {why}" for record in log.records() if (why := record.misfit(log.core))]
        for log in _read_logs(folder)
    }
    print_json(found) if as_json else print_parts(show_logs.misfits(found))
    if any(found.values()):
        sys.exit(FAILED)


@logs_group.command("prune")
@folder_argument
@click.option(
    "--keep", type=click.IntRange(min=1), default=3, show_default=True, help="Records of each kernel."
)
@json_option
def prune_command(folder: Path | None, keep: int, as_json: bool) -> None:
    """Keep the best records of each kernel that still fit; drop the others."""
    from compile.tuning.upkeep import prune

    found = {str(log.folder): prune(log, keep) for log in _logs(folder)}
    if as_json:
        print_json({name: vars(pruned) for name, pruned in found.items()})
    else:
        print_parts(show_logs.pruned(found))


@logs_group.command("merge")
@click.argument("sources", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option(
    "--into", type=click.Path(path_type=Path, file_okay=False), metavar="FOLDER", help="[default: your own]"
)
@json_option
def merge_command(sources: Sequence[Path], into: Path | None, as_json: bool) -> None:
    """Add the records of other folders, from other machines, to one's own; what it has is not added again."""
    from compile.tuning.records import Log
    from compile.tuning.upkeep import merge

    target = into or _user_logs()
    found = {
        str(log.folder): merge(log, Log(target / log.core.name, log.core))
        for source in sources
        for log in _logs(source)
    }
    print_json(found) if as_json else print_parts(show_logs.merged(found, target))


def _read_logs(folder: Path | None) -> list[Log]:
    """The logs in `folder`, or all that a compile reads, of which the user's own may have none yet."""
    from compile.tuning.lookup import shipped_logs, user_logs
    from compile.tuning.records import RECORDS

    if folder is not None:
        return _logs(folder)
    own = user_logs()
    return [*(_logs(own) if any(own.glob(f"*/{RECORDS}")) else []), *_logs(shipped_logs())]


def _logs(folder: Path | None) -> list[Log]:
    from compile.tuning.upkeep import logs_in

    return logs_in(folder or _user_logs())


def _user_logs() -> Path:
    from compile.tuning.lookup import user_logs

    return user_logs()


def _best_rows(log: Log) -> list[dict[str, Any]]:
    from compile.tuning.upkeep import best_rows

    return best_rows(log)
