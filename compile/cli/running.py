"""`armature validate` and `armature run`: a bundle on a device."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from compile.cli import show_answers
from compile.cli.console import FAILED, print_json, print_parts, screen, stage, tell_time
from compile.cli.options import device_option, json_option, trust_option

VALIDATE_HELP = """Run the same inputs through PyTorch and the device, and compare.

Exit code 1 when an input differs: numbers by more than 1e-3 of the outputs'
scale, or in the class that comes first; boxes in their number, in a class, or
where two overlap by no more than 0.99; more than a thousandth of a class
map's pixels.

With annotations, both sides are held against them: top-1 and top-5, COCO's
average precision (COCO's JSON, VOC's XML, labelme's JSON), or the mean
intersection over union (VOC's masks). See docs/validating.md.

\b
Examples:
  armature validate build/mobilenet_v2-cortex-a72 --device emulated
  armature validate mnv2 --device ssh://pi@192.168.1.7 --data photos/
  armature validate ssdlite --data coco/ --limit 500 --resume results.jsonl
  armature validate deeplab --data VOC2012/
"""


@click.command("validate", help=VALIDATE_HELP, short_help="Compare a device with PyTorch.")
@click.argument("bundle", type=click.Path(path_type=Path))
@device_option
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="An image, a folder of images, LABEL/xxx.jpg, COCO's or VOC's folder, or COCO's JSON file.",
)
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Stop after N inputs.")
@click.option(
    "--resume",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Keep results in FILE as they come, and go on from those it has.",
)
@trust_option
@json_option
def validate_command(
    bundle: Path,
    device: str,
    data: Path | None,
    limit: int | None,
    resume: Path | None,
    trust: bool,
    as_json: bool,
) -> None:
    with stage("load"):
        from compile.bundle import open_bundle

        opened = open_bundle(bundle)
    report = run_validation(opened, device, data, limit, resume, trust)
    if as_json:
        print_json(report.to_json())
    else:
        print_parts(show_answers.report(report))
    if not report.passed:
        sys.exit(FAILED)


def run_validation(
    bundle: Any,
    device: str,
    data: Path | None = None,
    limit: int | None = None,
    resume: Path | None = None,
    trust: bool = False,
) -> Any:
    """The report of `compile.validate.validate`, with its progress on standard error."""
    from compile.validate import validate

    columns = (TextColumn("validate"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    start = time.monotonic()
    with Progress(*columns, console=screen, transient=True) as bar:
        task = bar.add_task("validate", total=None)

        def tell(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        report = validate(bundle, device, data, limit, resume, tell, trust)
    tell_time("validate", start)
    return report


RUN_HELP = """Run a bundle on images, on a device.

Classifiers name the five likeliest classes. Detectors list their boxes and
segmenters the classes of pixels, and both draw them: the picture is
IMAGE-detect.png or IMAGE-segment.png. Of other networks the outputs are
summed up.

\b
Examples:
  armature run build/mobilenet_v2-cortex-a72 --device emulated --input cat.jpg
  armature run ssdlite --input street.jpg --input park.jpg -o drawn/
"""


@click.command("run", help=RUN_HELP, short_help="What a network says of images, on a device.")
@click.argument("bundle", type=click.Path(path_type=Path))
@device_option
@click.option(
    "--input", "inputs", multiple=True, required=True, type=click.Path(path_type=Path), metavar="FILE"
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(),
    metavar="FOLDER",
    help="Where pictures are written.  [default: the current folder]",
)
@click.option(
    "--min-score",
    type=click.FloatRange(0, 1),
    default=0.3,
    show_default=True,
    metavar="SCORE",
    help="Leave out a detector's boxes that score less.",
)
@json_option
def run_command(
    bundle: Path, device: str, inputs: Sequence[Path], output: Path, min_score: float, as_json: bool
) -> None:
    with stage("load"):
        from compile.bundle import open_bundle
        from compile.predict import predict

        opened = open_bundle(bundle)
    with stage("run"):
        found = predict(opened, device, inputs, output, min_score)
    if as_json:
        print_json([prediction.to_json() for prediction in found])
    else:
        print_parts(show_answers.predictions(found, opened.manifest["task"]))
