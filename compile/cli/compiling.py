"""`compile`: a model into a bundle."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import click
from rich.markup import escape

from compile.cli import show, show_answers
from compile.cli.console import FAILED, Script, print_json, print_parts, screen, stage
from compile.cli.options import (
    ColourType,
    chosen_cores,
    json_option,
    pairs,
    shapes,
    trust_option,
    tuning_log_option,
)
from compile.cli.running import run_validation
from compile.labels import label_sets
from compile.placement import Fit
from compile.source import FLOATS, MOST_THREADS, THREADS, Artifact, Colour, InputFormat, Source
from targets.cores import AARCH64, find_core
from targets.device import HOST, require_platform
from targets.errors import UserError
from targets.host import host_core
from targets.platforms import ARM_SYSTEMS, LINUX_ARM, arm_platform, host_platform

if TYPE_CHECKING:
    from tvm.ir import IRModule

    from compile.bundle import Bundle
    from compile.lower import Lowered
    from targets.cores import Core

COMPILE_HELP = """Compile MODEL into a folder with a library for an ARM core, and what runs it.

The library is plain C, lib<model>.so with <model>.h, and needs no runtime
(docs/c-library.md). With --format bundle it is one for TVM's runtime, which is
in `run` then; so is a network with operators that only that runtime has.

MODEL is a registered network (`armature models`), your own as
package.module:callable, or a .pt2 file of torch.export.

\b
Examples:
  compile mobilenet_v2 --target arm_cpu --cpu cortex-a72 -o build/mnv2
  compile mobilenet_v2 --arg width=0.5 --weights half.safetensors
  compile my_project.nets:small --input image=1x3x96x96 --cpu cortex-a53
  compile exported.pt2 --cpu cortex-a76 --validate emulated
  compile mobilenet_v2 --board rpi4
  compile mobilenet_v2 --input-format uint8-nhwc --cpu cortex-a53
  compile my_project.nets:finder --input image=1x3x320x320 --labels coco --fit stretch
  compile mobilenet_v2 --cpu a53,a76 --platform android --threads 4
  compile mobilenet_v2 --target host
"""


@click.command("compile", cls=Script, help=COMPILE_HELP, short_help="Compile a model into a library.")
@click.argument("model")
@click.option(
    "--target",
    type=click.Choice(["arm_cpu", HOST]),
    default="arm_cpu",
    show_default=True,
    help="host: a C library for this machine's CPU (docs/c-library.md).",
)
@click.option(
    "--cpu",
    metavar="CORE[,CORE]",
    help="See `armature cores`. Of several a C library takes what suits the CPU.  [default: generic]",
)
@click.option("--board", metavar="BOARD", help="Its biggest core instead; see `armature boards`.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Folder.  [default: MODEL-CORE]")
@click.option(
    "--weights",
    metavar="SOURCE",
    help="A name (`armature models`), a .pth or .safetensors file, or random:SEED.",
)
@click.option("--input", "inputs", multiple=True, metavar="NAME=SHAPE", help="As in image=1x3x224x224.")
@click.option("--arg", "args", multiple=True, metavar="NAME=VALUE", help="As in width=0.5.")
@click.option(
    "--input-format",
    type=click.Choice(get_args(InputFormat)),
    default=FLOATS,
    show_default=True,
    help="What the library takes for an image: uint8-nhwc is a camera's frame, normalised inside.",
)
@click.option(
    "--labels",
    "label_set",
    metavar="SET|FILE",
    help=f"What the classes are called: {', '.join(label_sets())}, or a text file with a name a line.  "
    "[default: the network's own, if any]",
)
@click.option(
    "--fit",
    type=click.Choice(get_args(Fit)),
    help="How an image becomes the input: see docs/validating.md.  [default: by what the network is for]",
)
@click.option(
    "--mean",
    type=ColourType(),
    metavar="R,G,B",
    help="What is taken from pixels, on the scale 0 to 1.  [default: the network's own, or ImageNet's]",
)
@click.option(
    "--std",
    type=ColourType(positive=True),
    metavar="R,G,B",
    help="What pixels are divided by then.  [default: the same]",
)
@click.option(
    "--format",
    "artifact",
    type=click.Choice(get_args(Artifact)),
    help="c-library: a plain C library and its header; bundle: a library for TVM's runtime; both: side by "
    "side.  [default: c-library, or bundle where the network needs that runtime]",
)
@click.option(
    "--platform",
    "system",
    type=click.Choice(ARM_SYSTEMS),
    help="What a C library is for: Linux with glibc or musl, or Android.  [default: linux]",
)
@click.option(
    "--threads",
    type=click.IntRange(1, MOST_THREADS),
    metavar="N",
    help=f"The most that share a run of a C library; 1: it needs no threads.  [default: {THREADS}]",
)
@tuning_log_option
@trust_option
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
    input_format: InputFormat,
    label_set: str | None,
    fit: Fit | None,
    mean: Colour | None,
    std: Colour | None,
    artifact: Artifact | None,
    system: str | None,
    threads: int | None,
    tuning_log: Path | None,
    trust: bool,
    device: str | None,
    as_json: bool,
) -> None:
    made: Artifact = artifact or "c-library"
    if target == HOST:
        _require_host_options(cpu or board or system, made)
        core, others, platform = host_core(), [], host_platform()
    else:
        core, *others = chosen_cores(cpu, board) or [find_core("generic")]
        _require_one_architecture([core, *others], made)
        platform = arm_platform(system or ARM_SYSTEMS[0], core.arch)
        if platform != LINUX_ARM and made != "c-library":
            raise UserError(f"--platform {system} is for a C library: leave --format {made} out.")
    if device:
        require_platform(device, platform.name)
    if others and made != "c-library":
        raise UserError("Several cores are for a C library: give --format c-library, or one --cpu.")
    if threads is not None and made == "bundle":
        raise UserError("--threads is for a C library: give --format c-library or both.")
    extents, values = shapes(inputs), pairs(args, "--arg", "NAME=VALUE")
    names = [each.name for each in (core, *others)]
    folder = output or Path("-".join([_stem(model), *names]))
    screen.print(f"compile {model} for {', '.join(names)} ({target})")
    with stage("load"):
        from compile.bundle import MANIFEST
        from compile.lower import lower
        from compile.pipeline import compile_model
        from compile.tuning.lookup import TunedScheduler, log_folders

        logs = log_folders(tuning_log)
        schedulers = {each.name: TunedScheduler(each, logs) for each in (core, *others)}
    source = Source(model, values, weights, extents, input_format, label_set, fit, mean, std, trust)

    def lowering(module: IRModule, core: Core) -> Lowered:
        return lower(module, core, schedulers[core.name])

    most = threads or THREADS
    compiled = partial(
        compile_model, source, core, folder, stage, lowering, platform=platform, threads=most, others=others
    )
    alone = target == HOST or core.arch != AARCH64  # there is no bundle
    asked = bool(artifact or others or threads or system or alone)
    bundle = compiled(artifact=made) if asked else _by_default(compiled)
    for record in (record for scheduler in schedulers.values() for record in scheduler.unfit):
        screen.print(f"[yellow]warning:[/] tuning record does not apply: {escape(record)}", soft_wrap=True)
    report = run_validation(bundle, device, trust=trust) if device else None
    if as_json:
        document = {"bundle": str(folder), "manifest": str(folder / MANIFEST), "core": core.name}
        print_json({**document, **({"validation": report.to_json()} if report else {})})
    else:
        print_parts(show.bundle(bundle))
        if report:
            print_parts(show_answers.report(report))
    if report and not report.passed:
        sys.exit(FAILED)


def _by_default(compiled: Callable[..., Bundle]) -> Bundle:
    """A C library, or a bundle where the network cannot be one."""
    from compile.c_library.errors import NoCLibraryError

    try:
        return compiled(artifact="c-library")
    except NoCLibraryError as error:
        screen.print(f"[yellow]as a bundle:[/] {escape(str(error).splitlines()[0])}", soft_wrap=True)
        return compiled(artifact="bundle")


def _require_one_architecture(cores: Sequence[Core], artifact: Artifact) -> None:
    """UserError where no library or no bundle can be for these cores."""
    if len({each.arch for each in cores}) > 1:
        names = ", ".join(f"{each.name} ({each.arch})" for each in cores)
        raise UserError(f"One library is for one architecture, not for {names}: compile one for each.")
    if cores[0].arch != AARCH64 and artifact != "c-library":
        raise UserError(f"A bundle is for 64 bits, and {cores[0].name} has 32: give --format c-library.")


def _require_host_options(chosen: str | None, artifact: Artifact) -> None:
    """UserError where an option does not go with --target host."""
    if chosen:
        raise UserError(f"--target host compiles for this machine alone: leave {chosen} out.")
    if artifact != "c-library":
        raise UserError("--target host makes a C library alone: leave --format out.")


def _stem(model: str) -> str:
    return Path(model).stem if model.endswith(".pt2") else model.rpartition(":")[2]
