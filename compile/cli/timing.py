"""`armature bench`: what an inference costs, kernel by kernel."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from compile.cli import show_estimates
from compile.cli.console import print_json, print_parts, stage
from compile.cli.options import ghz_option, json_option
from targets.errors import UserError

if TYPE_CHECKING:
    from targets.cores import Core

EMULATED = "emulated"

BENCH_HELP = """Estimate what one inference costs, kernel by kernel, on the emulated board.

Instructions and cache misses are counted, exactly and repeatably; cycles and
milliseconds are estimated from them, with the model's known error beside
(docs/timing.md). The time that emulation takes is never shown. Milliseconds
and GFLOP/s need a clock: name a board, or give --ghz.

\b
Examples:
  armature bench build/mobilenet_v2-cortex-a72 --device emulated:rpi4
  armature bench mnv2 --device emulated:cortex-a53 --ghz 1.4 --json
  armature bench mnv2 --core a53,a55,a72,a76
"""


@click.command("bench", help=BENCH_HELP, short_help="Estimate cycles and time by kernel.")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--device", default=EMULATED, show_default=True, metavar="DEVICE", help="emulated[:CORE|BOARD]."
)
@click.option(
    "--core",
    "cores",
    metavar="CORE,...",
    help="Price one run, of the code as it is, for each of these cores.",
)
@ghz_option
@json_option
def bench_command(bundle: Path, device: str, cores: str | None, ghz: float | None, as_json: bool) -> None:
    chosen = _chosen_cores(cores, device, ghz)
    with stage("load"):
        from compile.bench import count, count_for_cores
        from compile.bundle import open_bundle

        opened = open_bundle(bundle)
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
