"""`armature bench`: what an inference costs, kernel by kernel."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from compile.cli import show_estimates
from compile.cli.console import print_json, print_parts, stage
from compile.cli.measuring import governor_option, is_board, measure_command, seconds_option
from compile.cli.options import device_option, ghz_option, json_option, pin_option
from targets.emulated.spec import EMULATED
from targets.errors import UserError

if TYPE_CHECKING:
    from targets.cores import Core
    from targets.pin import Pin

BENCH_HELP = """Estimate what one inference costs on the emulated board, or measure it on a board.

On a board (ssh://, adb://, rpc://, tracker://) it is measured, with what speaks against the
figure (docs/measuring.md); several bundles are measured in turns, and each is
compared with the first. On the emulated board, kernel by kernel:
instructions and cache misses are counted, exactly and repeatably; cycles and
milliseconds are estimated from them, with the model's known error beside
(docs/timing.md). The time that emulation takes is never shown. Milliseconds
and GFLOP/s need a clock: name a board, or give --ghz.

\b
Examples:
  armature bench build/mobilenet_v2-cortex-a72 --device emulated:rpi4
  armature bench mnv2 --device emulated:cortex-a53 --ghz 1.4 --json
  armature bench mnv2 --core a53,a55,a72,a76
  armature bench mnv2 --device ssh://pi@raspberrypi.local
  armature bench mnv2 mnv2-tuned --device rock --pin cortex-a72
"""


@click.command("bench", help=BENCH_HELP, short_help="Estimate time by kernel, or measure it on a board.")
@click.argument("bundles", metavar="BUNDLE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@device_option
@click.option(
    "--core",
    "cores",
    metavar="CORE,...",
    help="Price one run, of the code as it is, for each of these cores.",
)
@ghz_option
@seconds_option
@pin_option
@governor_option
@json_option
def bench_command(
    bundles: tuple[Path, ...],
    device: str,
    cores: str | None,
    ghz: float | None,
    seconds: float | None,
    pin: Pin | None,
    governor: str | None,
    as_json: bool,
) -> None:
    chosen = _chosen_cores(cores, device, ghz)
    with stage("load"):
        from compile.bench import count, count_for_cores
        from compile.bundle import open_bundle

        every = [open_bundle(bundle) for bundle in bundles]
    if not chosen and is_board(device):
        measure_command(every, device, ghz, seconds, pin, governor, as_json)
        return
    if seconds is not None:
        raise UserError("--seconds is for a board: an emulated one is counted, which takes what it takes.")
    if len(every) > 1:
        raise UserError("several bundles are measured in turns on a board; estimates are of one at a time.")
    (opened,) = every
    if pin is not None or governor is not None:
        option = "--governor" if pin is None else "--pin"
        raise UserError(f"{option} is for a board: an emulated one has one CPU and one clock.")
    if chosen:
        with stage("count"):
            reports = count_for_cores(opened, chosen)
        if as_json:
            print_json({"bundle": str(opened.path), "cores": [report.to_json() for report in reports]})
        else:
            print_parts(show_estimates.cores(reports))
        return
    with stage("count"):
        report = count(opened, device, ghz)
    print_json(report.to_json()) if as_json else print_parts(show_estimates.bench(report))


def _chosen_cores(names: str | None, device: str, ghz: float | None) -> list[Core]:
    """The cores of --core, each once; none without it."""
    from targets.cores import find_core

    if names is None:
        return []
    if device != EMULATED:
        raise UserError(f"--core and --device {device} both choose the core: give one of them.")
    if ghz is not None:
        raise UserError("--ghz is the clock of one core: give it with --device emulated:CORE, not --core.")
    if not all(name.strip() for name in names.split(",")):
        raise UserError(f"--core wants names with commas between, as in a53,a72, not '{names}'.")
    return list({core.name: core for core in map(find_core, names.split(","))}.values())
