"""The command line: `armature VERB`, and `compile` for `armature compile`. Parses, calls, prints."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

import compile as armature
from compile.cli import show
from compile.cli.console import (
    FAILED,
    Group,
    Script,
    print_json,
    print_parts,
    screen,
    stage,
    tell_time,
)
from targets.errors import UserError

if TYPE_CHECKING:
    from targets.cores import Core

json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON document instead of tables."
)
device_option = click.option(
    "--device",
    default="emulated",
    show_default=True,
    metavar="DEVICE",
    help="emulated[:CORE|BOARD], rpc://HOST:PORT or tracker://HOST:PORT/KEY.",
)


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(armature.__version__, prog_name="armature")
@click.option("-v", "--verbose", count=True, help="Say more on standard error (-vv: everything).")
def main(verbose: int) -> None:
    """Compile PyTorch vision models for ARM Cortex-A, and prove on the device that they are right."""
    level = {0: logging.WARNING, 1: logging.INFO}.get(verbose, logging.DEBUG)
    logging.basicConfig(level=level, format="%(levelname)s %(name)s: %(message)s")


def _pairs(values: Sequence[str], option: str, example: str) -> dict[str, str]:
    pairs = dict(value.partition("=")[::2] for value in values)
    for name, value in pairs.items():
        if not name or not value:
            raise UserError(f"{option} wants {example}, not '{name}{value and '=' + value}'.")
    return pairs


def _shapes(values: Sequence[str]) -> dict[str, tuple[int, ...]]:
    shapes = {}
    for name, text in _pairs(values, "--input", "NAME=1x3x224x224").items():
        extents = text.split("x")
        if not all(extent.isdecimal() and int(extent) > 0 for extent in extents):
            raise UserError(f"--input wants NAME=1x3x224x224, not '{name}={text}'.")
        shapes[name] = tuple(map(int, extents))
    return shapes


COMPILE_HELP = """Compile MODEL into a bundle: a library for one ARM core, and what runs it.

MODEL is a registered network (`armature models`), your own as
package.module:callable, or a .pt2 file of torch.export.

\b
Examples:
  compile mobilenet_v2 --target arm_cpu --cpu cortex-a72 -o build/mnv2
  compile mobilenet_v2 --arg width=0.5 --weights half.safetensors
  compile my_project.nets:small --input image=1x3x96x96 --cpu cortex-a53
  compile exported.pt2 --cpu cortex-a76 --validate emulated
  compile mobilenet_v2 --board rpi4
"""


@click.command("compile", cls=Script, help=COMPILE_HELP, short_help="Compile a model into a bundle.")
@click.argument("model")
@click.option("--target", type=click.Choice(["arm_cpu"]), default="arm_cpu", show_default=True)
@click.option("--cpu", metavar="CORE", help="See `armature cores`.  [default: generic]")
@click.option("--board", metavar="BOARD", help="Its biggest core instead; see `armature boards`.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Folder.  [default: MODEL-CORE]")
@click.option("--weights", metavar="SOURCE", help="imagenet, a .pth or .safetensors file, or random:SEED.")
@click.option("--input", "inputs", multiple=True, metavar="NAME=SHAPE", help="As in image=1x3x224x224.")
@click.option("--arg", "args", multiple=True, metavar="NAME=VALUE", help="As in width=0.5.")
@click.option("--validate", "device", metavar="DEVICE", help="Validate on this device right after.")
@json_option
def compile_command(
    model: str,
    target: str,
    cpu: str | None,
    board: str | None,
    output: Path | None,
    weights: str | None,
    inputs: Sequence[str],
    args: Sequence[str],
    device: str | None,
    as_json: bool,
) -> None:
    core = _chosen_core(cpu, board)
    shapes, values = _shapes(inputs), _pairs(args, "--arg", "NAME=VALUE")
    folder = output or Path(f"{_stem(model)}-{core.name}")
    screen.print(f"compile {model} for {core.name} ({target})")
    with stage("load"):
        from compile.bundle import MANIFEST
        from compile.pipeline import compile_model
        from compile.source import Source
    bundle = compile_model(Source(model, values, weights, shapes), core, folder, stage)
    report = _validated(bundle, device, None, None) if device else None
    if as_json:
        document = {"bundle": str(folder), "manifest": str(folder / MANIFEST), "core": core.name}
        print_json({**document, **({"validation": report.to_json()} if report else {})})
    else:
        print_parts(show.bundle(bundle))
        if report:
            print_parts(show.report(report))
    if report and not report.passed:
        sys.exit(FAILED)


def _chosen_core(cpu: str | None, board: str | None) -> Core:
    from targets.boards import big_core, find_board
    from targets.cores import find_core

    if cpu is not None and board is not None:
        raise UserError("--cpu and --board both choose the core: give one of them.")
    if board is not None:
        return big_core(find_board(board))
    return find_core("generic" if cpu is None else cpu)


def _stem(model: str) -> str:
    return Path(model).stem if model.endswith(".pt2") else model.rpartition(":")[2]


VALIDATE_HELP = """Run the same inputs through PyTorch and the device, and compare.

Exit code 1 when an output differs by more than 1e-3 of the outputs' scale,
or another class comes first.

\b
Examples:
  armature validate build/mobilenet_v2-cortex-a72 --device emulated
  armature validate mnv2 --device rpc://192.168.1.7:9090 --data photos/
"""


@main.command("validate", help=VALIDATE_HELP, short_help="Compare a device with PyTorch.")
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
    report = _validated(opened, device, data, limit)
    if as_json:
        print_json(report.to_json())
    else:
        print_parts(show.report(report))
    if not report.passed:
        sys.exit(FAILED)


def _validated(bundle: Any, device: str, data: Path | None, limit: int | None) -> Any:
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


@main.command("run", help=RUN_HELP, short_help="Name the classes of images, on a device.")
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


BENCH_HELP = """Count what one inference executes, kernel by kernel: instructions and cache misses.

Counts are exact and repeatable; cycles are estimated from them, and neither
is a time. The caches are modelled after the core's (`armature cores`,
docs/timing.md).

\b
Examples:
  armature bench build/mobilenet_v2-cortex-a72
  armature bench mnv2 --device emulated:cortex-a53 --json
"""


@main.command("bench", help=BENCH_HELP, short_help="Count instructions and cache misses by kernel.")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--device", default="emulated", show_default=True, metavar="DEVICE", help="emulated[:CORE|BOARD]."
)
@json_option
def bench_command(bundle: Path, device: str, as_json: bool) -> None:
    with stage("load"):
        from compile.bench import count
        from compile.bundle import open_bundle

        opened = open_bundle(bundle)
    with stage("count"):
        report = count(opened, device)
    print_json(report.to_json()) if as_json else print_parts(show.bench(report))


@main.command("cores", help="List the cores that --cpu takes.")
@json_option
def cores_command(as_json: bool) -> None:
    from targets.cores import core_rows

    print_json(core_rows()) if as_json else print_parts(show.cores(core_rows()))


@main.command("boards", help="List the boards that --board and emulated:BOARD take.")
@json_option
def boards_command(as_json: bool) -> None:
    from targets.boards import board_rows

    print_json(board_rows()) if as_json else print_parts(show.boards(board_rows()))


@main.command("models", help="List the registered networks.")
@json_option
def models_command(as_json: bool) -> None:
    from compile.models import model_rows

    with stage("count"):
        rows = model_rows()
    print_json(rows) if as_json else print_parts(show.models(rows))


SETUP_HELP = """Prepare this machine: build the board's program, and look for the emulator.

Runs by itself when a first compile needs it; takes about three minutes once.
"""


@main.command("setup", help=SETUP_HELP, short_help="Build what the board needs, once.")
def setup_command() -> None:
    from targets.agent.build import build_agent
    from targets.emulated.board import find_qemu, find_sysroot

    with stage("agent"):
        build_agent()
    with stage("emulator"):
        find_qemu()
        find_sysroot()


main.add_command(compile_command)
compile_main = compile_command
