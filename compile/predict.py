"""What a bundle says of images on a device, and the images with it drawn in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compile.bundle import Bundle
from compile.labels import labels
from compile.preprocess import open_image
from compile.tasks import TASKS
from compile.tasks.task import View
from targets.errors import UserError


@dataclass(frozen=True)
class Prediction:
    """An image, what the network says of it (`document`, as its task has it), and the file it is drawn in."""

    image: Path
    document: dict[str, Any]
    picture: Path | None

    def to_json(self) -> dict[str, Any]:
        """The prediction, JSON-ready."""
        drawn = {} if self.picture is None else {"picture": str(self.picture)}
        return {"input": str(self.image), **self.document, **drawn}


def predict(
    bundle: Bundle, device_spec: str, images: Sequence[Path], folder: Path, min_score: float = 0.0
) -> list[Prediction]:
    """What the network says of each image; pictures, where its task has them, are written to `folder`.

    Boxes that score less than `min_score` are left out. None of `images` is overwritten, earlier pictures
    are. Raises UserError when the network takes no image or one cannot be read or written, DeviceError where
    the device fails.
    """
    steps, task = bundle.preprocess, TASKS[bundle.manifest["task"]]
    if steps is None:
        raise UserError(
            f"{bundle.path} takes no image, or several at a time: `armature validate` compares its outputs."
        )
    names = labels(bundle.labels) if bundle.labels else None
    outputs = [row["name"] for row in bundle.manifest["outputs"]]
    pictures = [open_image(image) for image in images]
    taken = {image.resolve() for image in images}
    predictions = []
    with bundle.loaded_on(device_spec) as (_, program):
        for image, picture in zip(images, pictures, strict=True):
            view = View(picture, steps.place(*picture.size), names, outputs, min_score)
            answer = task.answer(program.run(steps.apply(picture)), view)
            written = None
            if answer.drawing is not None:
                written = _free(folder, f"{image.stem}-{task.name}", taken)
                _save(answer.drawing, written)
            predictions.append(Prediction(image, dict(answer.document), written))
    return predictions


def _free(folder: Path, stem: str, taken: set[Path]) -> Path:
    """A PNG in `folder` that is none of those `taken`, which it joins."""
    number = 1
    while (path := folder / f"{stem}{f'-{number}' if number > 1 else ''}.png").resolve() in taken:
        number += 1
    taken.add(path.resolve())
    return path


def _save(drawing: Any, path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        drawing.save(path)
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"Cannot write {path} ({reason}): give another folder with -o.") from error
