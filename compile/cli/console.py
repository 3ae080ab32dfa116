"""How the commands speak: exit codes, errors, progress on standard error, results on standard output."""

from __future__ import annotations

import atexit
import json
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import click
from rich.console import Console
from rich.markup import escape

from targets.errors import DeviceError, UserError

FAILED = 1
UNUSABLE = 2
INTERRUPTED = 128 + signal.SIGINT

screen = Console(stderr=True, highlight=False)
"""Progress and messages; results go to standard output."""

TABLE_WIDTH = 240
"""Wide enough for every table: a row that wraps in the terminal is whole, a cell cut short is not."""


class Group(click.Group):
    """Commands whose outcome becomes an exit code."""

    def main(self, *args: Any, **kwargs: Any) -> NoReturn:
        _exit(super().main, *args, **kwargs)


class Script(click.Command):
    """A command that is also a console script of its own."""

    def main(self, *args: Any, **kwargs: Any) -> NoReturn:
        _exit(super().main, *args, **kwargs)


def _exit(run: Any, *args: Any, **kwargs: Any) -> NoReturn:
    """Run a command and turn how it ended into an exit code."""
    try:
        run(*args, **{**kwargs, "standalone_mode": False})
    except UserError as error:
        screen.print(f"[bold red]error:[/] {escape(str(error))}", soft_wrap=True)
        sys.exit(UNUSABLE)
    except DeviceError as error:
        screen.print(f"[bold red]device failed:[/] {escape(str(error))}", soft_wrap=True)
        sys.exit(FAILED)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        atexit.register(
            signal.signal, signal.SIGINT, signal.SIG_IGN
        )  # a second one would end Python's own end
        screen.print("interrupted")
        sys.exit(INTERRUPTED)
    except BrokenPipeError:  # the reader of a pipe had seen enough
        sys.exit(0)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    sys.exit(0)


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Show that a stage runs, then how long it took."""
    start = time.monotonic()
    with screen.status(name):
        yield
    tell_time(name, start)


def tell_time(name: str, start: float) -> None:
    """Say how long a stage took that began at `start` (time.monotonic)."""
    screen.print(f"  {name:<10} {time.monotonic() - start:6.1f} s")


def tell_line(text: str) -> None:
    """Say what a stage does, while it runs."""
    screen.print(f"  {escape(text)}", soft_wrap=True)


def print_parts(parts: Iterable[object]) -> None:
    """Print what rich renders, tables whole."""
    console = Console(highlight=False, soft_wrap=True, width=TABLE_WIDTH)
    for part in parts:
        console.print(part)


def print_json(document: Any) -> None:
    """Print one JSON document."""
    click.echo(json.dumps(document, indent=2))
