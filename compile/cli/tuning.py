"""`armature tune`: search the schedules of a network's kernels on a device."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.live import Live

from compile.cli import show_tuning
from compile.cli.console import print_parts, screen, stage
from compile.cli.options import (
    chosen_core,
    device_option,
    json_option,
    pin_option,
    trust_option,
    tuning_log_option,
)
from targets.errors import UserError

if TYPE_CHECKING:
    from compile.tuning.tuner import Listener, Tuner
    from targets.pin import Pin

TUNE_HELP = """Search the schedules of MODEL's kernels on DEVICE, and keep what is found.

A later compile for the core takes the best record of each kernel. Kernels that
several networks share are tuned once, and trials go where most is to be
gained. On the emulated board cycles are estimated, kernel by kernel; on boards
over RPC time is measured, on all boards of a tracker's key at a time. Every
figure is written down as it comes: Ctrl-C loses none, and nothing that the log
has is measured again.

A model may carry arguments: mobilenet_v2?width=0.35&image=1x3x96x96

\b
Examples:
  armature tune mobilenet_v2 --device emulated:cortex-a53 --trials 400
  armature tune mobilenet_v2 --device emulated:rpi4 --budget 30m
  armature tune --models "mobilenet_v2,mobilenet_v2?width=0.5" --device emulated:a72
  armature tune mobilenet_v2 --device emulated:a76 --dry-run
  armature tune mobilenet_v2 --device emulated:a76 --workers ray://head:10001
  armature tune mobilenet_v2 --device ssh://pi@192.168.1.7 --board rpi4
  armature tune mobilenet_v2 --device rpc://192.168.1.8:9090 --cpu a72 --pin a72
  armature tune mobilenet_v2 --device tracker://192.168.1.2:9190/pi4 --cpu cortex-a72
"""


class Duration(click.ParamType):  # type: ignore[type-arg]  # generic only in newer versions of click
    """90s, 30m or 2h, in seconds."""

    name = "duration"
    UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}  # noqa: RUF012

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number of seconds."""
        text = str(value)
        try:
            seconds = float(text[:-1]) * self.UNITS[text[-1:]]
        except (ValueError, KeyError):
            self.fail(f"{text!r} is no duration such as 90s, 30m or 2h", param, ctx)
        if not seconds > 0:
            self.fail(f"{text!r} is no time at all", param, ctx)
        return seconds


class Workers(click.ParamType):  # type: ignore[type-arg]  # generic only in newer versions of click
    """A number of processes, or the address of a Ray cluster."""

    name = "workers"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        """The number, or the address."""
        text = str(value)
        if text.startswith("ray://"):
            return text
        if not text.isdecimal() or int(text) < 1:
            self.fail(f"{text!r} is neither a number of processes nor ray://HOST:PORT", param, ctx)
        return int(text)


@click.command("tune", help=TUNE_HELP, short_help="Search kernels' schedules on a device.")
@click.argument("model", required=False)
@click.option("--models", metavar="MODEL,...", help="Tune the kernels of these networks together.")
@device_option
@click.option("--cpu", metavar="CORE", help="The core of boards over RPC; see `armature cores`.")
@click.option("--board", metavar="BOARD", help="Its biggest core instead; see `armature boards`.")
@pin_option
@click.option("--trials", type=click.IntRange(min=1), metavar="N", help="The most candidates to measure.")
@click.option("--budget", type=Duration(), metavar="TIME", help="The longest to search, as in 30m.")
@click.option("--resume", is_flag=True, help="Count what the log has from this device as trials made.")
@click.option("--retry-failed", is_flag=True, help="Try again what failed on this device before.")
@tuning_log_option
@click.option(
    "--workers",
    type=Workers(),
    metavar="N|ray://HOST:PORT",
    help="Processes here, or the CPUs of a Ray cluster.  [default: one per CPU]",
)
@trust_option
@click.option("--dry-run", is_flag=True, help="Only list the kernels, trials, and the time they may take.")
@json_option
def tune_command(
    model: str | None,
    models: str | None,
    device: str,
    cpu: str | None,
    board: str | None,
    pin: Pin | None,
    trials: int | None,
    budget: float | None,
    resume: bool,
    retry_failed: bool,
    tuning_log: Path | None,
    workers: int | str | None,
    trust: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    names = _names(model, models)
    core = chosen_core(cpu, board)
    with stage("load"):
        from compile.frontend import trace
        from compile.tuning.lookup import user_logs
        from compile.tuning.measurers import measurer_for
        from compile.tuning.records import Log
        from compile.tuning.spec import read_spec
        from compile.tuning.task import tasks_of
        from compile.tuning.tuner import Budget, Tuner

        sources = {name: replace(read_spec(name), trust=trust) for name in names}
        measurer = measurer_for(device, core, workers, pin)
    with stage("trace"):
        networks = {name: trace(source).relax() for name, source in sources.items()}
    with stage("lower"):
        tasks = tasks_of(networks, measurer.core)
    log = Log((tuning_log or user_logs()) / measurer.core.name, measurer.core)
    with _listener(as_json) as listener:
        tuner = Tuner(
            *(tasks, measurer.core, measurer, log, Budget(trials, budget), listener),
            resume=resume,
            retry_failed=retry_failed,
        )
        if dry_run:
            _print(show_tuning.plan(tuner), tuner, as_json)
            return
        tuner.run()
    _print(show_tuning.outcome(tuner), tuner, as_json)


def _names(model: str | None, models: str | None) -> list[str]:
    if (model is None) == (models is None):
        raise UserError("name one MODEL, or several with --models.")
    return [model] if model is not None else [name for name in str(models).split(",") if name]


def _print(parts: Iterator[object], tuner: Tuner, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"event": "end", **show_tuning.document(tuner)}))
    else:
        print_parts(parts)


@contextmanager
def _listener(as_json: bool) -> Iterator[Listener]:
    """What shows a tune's progress: lines of JSON, a table that is redrawn, or a line now and then."""
    if as_json:
        yield show_tuning.Events(click.echo)
    elif not screen.is_terminal:
        yield show_tuning.Lines(screen)
    else:
        with Live(console=screen, refresh_per_second=4) as live:
            yield lambda tuner: live.update(show_tuning.table(tuner))
