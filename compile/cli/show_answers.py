"""Validations and predictions as tables, by task."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from compile.cli.show import Parts, make_table

if TYPE_CHECKING:
    from compile.predict import Prediction
    from compile.validate import Report

Row = Mapping[str, Any]

MOST_ROWS = 100
"""Of more inputs only those are listed that differ."""


@dataclass(frozen=True)
class Shown:
    """How a task's results are shown.

    `compared` are the columns of an input's comparison, `totals` the lines under them. `answers` is the key
    of the answers in a prediction's document, `answer` their columns.
    """

    compared: Mapping[str, Callable[[Row], str]]
    totals: Callable[[Row], Iterator[str]]
    answers: str
    answer: Mapping[str, Callable[[Row], str]]


def report(found: Report) -> Parts:
    """A line per input, of many only for those that differ; then the totals."""
    shown = SHOWN[found.task]
    table = make_table(
        "input", *shown.compared, "", right=[name for name in shown.compared if name in _NUMBERS]
    )
    many = len(found.records) > MOST_ROWS
    for name, record in found.records.items():
        if many and record["passed"]:
            continue
        cells = (cell(record) for cell in shown.compared.values())
        table.add_row(escape(name), *cells, "ok" if record["passed"] else "[bold red]DIFFERS[/]")
    yield table
    if many:
        yield f"not listed, since they pass: {sum(record['passed'] for record in found.records.values())}"
    yield from shown.totals({"images": len(found.records), **found.totals})
    if found.unknown:
        listed = ", ".join(f"{name} ({number})" for name, number in sorted(found.unknown.items()))
        yield f"annotated classes that the network does not tell: {escape(listed)}"
    if found.resumed:
        yield f"taken from an earlier run: {found.resumed} of {len(found.records)}"
    for name, reason in found.failures.items():
        yield f"[yellow]not compared:[/] {escape(name)}: {escape(reason)}"
    yield f"on {found.device}, compiled for {found.core}"
    yield (
        "[bold green]validated[/]"
        if found.passed
        else "[bold red]not valid[/]: outputs differ from PyTorch's"
    )


def predictions(found: Sequence[Prediction], task: str) -> Parts:
    """What the network says of each image, and where it is drawn."""
    shown = SHOWN[task]
    for prediction in found:
        title, *others = shown.answer
        yield escape(str(prediction.image))
        table = make_table(title, *others, right=[name for name in others if name in _NUMBERS])
        for row in prediction.document[shown.answers]:
            table.add_row(*(escape(cell(row)) for cell in shown.answer.values()))
        yield table
        if prediction.picture is not None:
            yield escape(f"drawn in {prediction.picture}")


def _classify_totals(found: Row) -> Iterator[str]:
    yield f"top-1 equal to PyTorch's: {found['top1_agreement']} of {found['images']}"
    for key in ("top1", "top5"):
        if found[key] is not None:
            correct = f"{key[:3]}-{key[3:]} correct: {found[key]} of {found['labelled']}"
            yield f"{correct} (PyTorch: {found[f'reference_{key}']})"
    yield f"largest error: {_error(found)}"


def _detect_totals(found: Row) -> Iterator[str]:
    images = found["images"]
    yield f"boxes: {found['boxes']} (PyTorch: {found['reference_boxes']})"
    yield f"as many as PyTorch's: {found['same_count']} of {images} images"
    yield f"of the same classes: {found['same_labels']} of {images} images"
    yield f"least overlap with PyTorch's box: IoU {found['min_iou']:.5f}"
    yield f"largest error of a score: {found['max_score_error']:.1e}"
    if found["ap"] is None:
        return
    yield from _both(found, {"ap": "AP", "ap50": "AP50"})
    yield from _by_class("AP", found["ap_by_class"], found["reference_ap_by_class"])


def _segment_totals(found: Row) -> Iterator[str]:
    yield f"pixels equal to PyTorch's, where fewest: {100 * found['agreement']:.3f}%"
    if found["miou"] is None:
        return
    yield from _both(found, {"miou": "mean IOU", "pixel_accuracy": "pixels correct"})
    yield from _by_class("IOU", found["iou_by_class"], found["reference_iou_by_class"])


def _tensors_totals(found: Row) -> Iterator[str]:
    yield f"largest error: {_error(found)}"


def _both(found: Row, titles: Mapping[str, str]) -> Iterator[str]:
    for key, title in titles.items():
        device, reference = _percent(found[key]), _percent(found[f"reference_{key}"])
        yield f"{title}: {device} (PyTorch: {reference}), {found['labelled']} annotated images"


def _by_class(title: str, device: Mapping[str, float], reference: Mapping[str, float]) -> Iterator[Any]:
    table = make_table("class", title, "PyTorch", right=(title, "PyTorch"))
    for name in {**reference, **device}:
        table.add_row(escape(name), _percent(device.get(name)), _percent(reference.get(name)))
    yield table


def _percent(part: float | None) -> str:
    return "-" if part is None else f"{100 * part:.2f}%"


def _error(record: Row) -> str:
    """The largest difference, and what part of whole numbers is equal if there are any."""
    largest, agreement = record["max_abs_error"], record["agreement"]
    equal = [] if agreement is None else [f"{100 * agreement:.3f}% equal"]
    return ", ".join([f"{largest:.1e}", *equal] if largest or not equal else equal)


def _top5(record: Row) -> str:
    ours, theirs = record["reference_top5"], record["device_top5"]
    return f"{len(set(ours) & set(theirs))}/{len(ours)}"


def _shape(row: Row) -> str:
    return "x".join(map(str, row["shape"])) or "scalar"


_NUMBERS = {
    *("label", "max error", "boxes", "PyTorch's", "min IoU", "score error", "probability", "class", "score"),
    *("pixels", "share", "min", "mean", "max"),
}
"""Columns that hold numbers."""

SHOWN: Mapping[str, Shown] = {
    "classify": Shown(
        compared={
            "label": lambda r: "-" if r["label"] is None else str(r["label"]),
            "PyTorch": lambda r: str(r["reference_top5"][0]),
            "device": lambda r: str(r["device_top5"][0]),
            "top-5 agree": _top5,
            "max error": _error,
        },
        totals=_classify_totals,
        answers="classes",
        answer={
            "name": lambda r: str(r["name"]),
            "probability": lambda r: f"{r['probability']:.3f}",
            "class": lambda r: str(r["label"]),
        },
    ),
    "detect": Shown(
        compared={
            "boxes": lambda r: str(len(r["device_boxes"])),
            "PyTorch's": lambda r: str(len(r["reference_boxes"])),
            "classes": lambda r: "equal" if r["same_labels"] else "differ",
            "min IoU": lambda r: f"{r['min_iou']:.5f}",
            "score error": lambda r: f"{r['max_score_error']:.1e}",
        },
        totals=_detect_totals,
        answers="detections",
        answer={
            "name": lambda r: str(r["name"]),
            "score": lambda r: f"{r['score']:.3f}",
            "box": lambda r: " ".join(f"{side:.1f}" for side in r["box"]),
            "class": lambda r: str(r["label"]),
        },
    ),
    "segment": Shown(
        compared={"max error": _error},
        totals=_segment_totals,
        answers="classes",
        answer={
            "name": lambda r: str(r["name"]),
            "share": lambda r: _percent(r["share"]),
            "pixels": lambda r: str(r["pixels"]),
            "class": lambda r: str(r["label"]),
        },
    ),
    "tensors": Shown(
        compared={"max error": _error},
        totals=_tensors_totals,
        answers="outputs",
        answer={
            "name": lambda r: str(r["name"]),
            "shape": _shape,
            "dtype": lambda r: str(r["dtype"]),
            "min": lambda r: f"{r['min']:.4g}",
            "mean": lambda r: f"{r['mean']:.4g}",
            "max": lambda r: f"{r['max']:.4g}",
        },
    ),
}
"""A row for each task."""
