"""`armature validate` and `armature run`: a bundle on a device."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from compile.cli import show
from compile.cli.console import FAILED, print_json, print_parts, screen, stage, tell_time
from compile.cli.options import device_option, json_option

VALIDATE_HELP = """Run the same inputs through PyTorch and the device, and compare.

Exit code 1 when an output differs by more than 1e-3 of the outputs' scale,
or another class comes first.

\b
Examples:
  armature validate build/mobilenet_v2-cortex-a72 --device emulated
  armature validate mnv2 --device rpc://192.168.1.7:9090 --data photos/
"""


@click.command("validate", help=VALIDATE_HELP, short_help="Compare a device with PyTorch.")
@click.argument("bundle", type=click.Path(path_type=Path))
@device_option
@click.option(
    "--data", type=click.Path(path_type=Path), help="An image, or a folder: LABEL/xxx.jpg or images."
)
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Stop after N inputs.")
@json_option
def validate_command(bundle: Path, device: str, data: Path | None, limit: int | None, as_json: bool) -> None:
    with stage("load"):
        from compile.bundle import open_bundle

        opened = open_bundle(bundle)
    report = run_validation(opened, device, data, limit)
    if as_json:
        print_json(report.to_json())
    else:
        print_parts(show.report(report))
    if not report.passed:
        sys.exit(FAILED)


def run_validation(bundle: Any, device: str, data: Path | None, limit: int | None) -> Any:
    """The report of `compile.validate.validate`, with its progress on standard error."""
    from compile.validate import validate

    columns = (TextColumn("validate"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    start = time.monotonic()
    with Progress(*columns, console=screen, transient=True) as bar:
        task = bar.add_task("validate", total=None)
        report = validate(
            bundle, device, data, limit, lambda done, total: bar.update(task, completed=done, total=total)
        )
    tell_time("validate", start)
    return report


RUN_HELP = """Run a bundle on a device: the five likeliest classes of each image.

\b
Example:
  armature run build/mobilenet_v2-cortex-a72 --device emulated --input cat.jpg
"""


@click.command("run", help=RUN_HELP, short_help="Name the classes of images, on a device.")
@click.argument("bundle", type=click.Path(path_type=Path))
@device_option
@click.option(
    "--input", "inputs", multiple=True, required=True, type=click.Path(path_type=Path), metavar="FILE"
)
@json_option
def run_command(bundle: Path, device: str, inputs: Sequence[Path], as_json: bool) -> None:
    with stage("load"):
        from compile.bundle import open_bundle
        from compile.classify import classify

        opened = open_bundle(bundle)
    with stage("run"):
        guesses = classify(opened, device, inputs)
    if as_json:
        print_json(show.guesses_document(inputs, guesses))
    else:
        print_parts(show.guesses(inputs, guesses))
