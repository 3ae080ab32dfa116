"""`armature bench` on a board: what an inference takes there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from compile.cli import show_measured
from compile.cli.console import print_json, print_parts, stage, tell_line
from targets.errors import UserError

if TYPE_CHECKING:
    from compile.bundle import Bundle
    from targets.pin import Pin

DEFAULT_SECONDS = 30.0

seconds_option = click.option(
    "--seconds",
    type=click.FloatRange(min=1),
    metavar="S",
    help=f"On a board: the longest to measure each.  [default: {DEFAULT_SECONDS:g}]",
)
governor_option = click.option(
    "--governor",
    type=click.Choice(("performance",)),
    help="On a board: set it on the CPUs of the mask, until the session ends; it usually takes root there.",
)


def is_board(device: str) -> bool:
    """Whether `device` is measured rather than estimated. UserError when it is no device."""
    from targets.device import open_device
    from targets.emulated.spec import find_emulated

    if find_emulated(device) is not None:
        return False
    open_device(device)  # connects only when it is entered
    return True


def measure_command(
    bundles: Sequence[Bundle],
    device: str,
    ghz: float | None,
    seconds: float | None,
    pin: Pin | None,
    governor: str | None,
    as_json: bool,
) -> None:
    """Measure, and print what was found; several in turns."""
    if ghz is not None:
        raise UserError(f"--ghz is for estimates: {device} has a clock of its own, which it tells.")
    with stage("measure"):
        from compile.measure import Rule
        from compile.measure_bundle import compared_json, measure_bundles

        rule = Rule(seconds=seconds or DEFAULT_SECONDS)
        reports = measure_bundles(bundles, device, rule, pin, governor, tell_line)
    if len(reports) > 1:
        print_json(compared_json(reports)) if as_json else print_parts(show_measured.compared(reports))
        return
    (report,) = reports
    print_json(report.to_json()) if as_json else print_parts(show_measured.measured(report))
