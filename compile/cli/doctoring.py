"""`armature board doctor`: whether a board is well."""

from __future__ import annotations

import sys

import click
from rich.markup import escape

from compile.cli.console import FAILED, print_json, print_parts, stage
from compile.cli.options import json_option

HELP = """Check a board, and say what to do about what is wrong.

One line a check: reached, versions, features against its core, memory, disk, a
kernel's numbers, round trip, timer; then, while it computes for --seconds on one
thread, clock and throttling, and how repeatable times are. What an emulator
cannot say of silicon is `not applicable`. Exit code 1 when a check failed.

\b
Examples:
  armature board doctor ssh://pi@raspberrypi.local
  armature board doctor tracker://127.0.0.1:9190/rpi4 --seconds 60 --json
"""


@click.command("doctor", help=HELP, short_help="Check a board: a list with remedies.")
@click.argument("device")
@click.option(
    "--seconds",
    type=click.FloatRange(min=0.5, max=3600),
    default=10,
    show_default=True,
    help="How long it computes.",
)
@json_option
def doctor_command(device: str, seconds: float, as_json: bool) -> None:
    with stage("load"):
        from targets.doctor.visit import examine, is_well, to_json
    rows = []
    for name, finding in examine(device, seconds):
        rows.append((name, finding))
        if not as_json:
            remedy = f"\n{'':<15} do: {escape(finding.remedy)}" if finding.remedy else ""
            print_parts([f"{name:<14} {finding.verdict.value}: {escape(finding.said)}{remedy}"])
    if as_json:
        print_json(to_json(device, rows))
    sys.exit(0 if is_well(rows) else FAILED)
