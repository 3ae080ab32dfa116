"""The deployable folder: the library, the program that runs it, and a manifest that says what they are.

A folder may hold a plain C library beside these, or instead: then that is what devices load.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compile.checksum import sha256
from compile.labels import label_sets
from compile.preprocess import Preprocess
from compile.source import Source, TensorInfo
from targets.cores import find_core
from targets.device import HOST, Device, Program, open_device, require_platform
from targets.errors import UserError
from targets.platforms import LINUX_ARM

MANIFEST = "manifest.json"
LIBRARY = "model.so"
INTERFACE = "interface.txt"
LABELS = "labels.txt"
"""The user's own label set."""
PROGRAM = "run"
FORMAT = 2
"""Version of the manifest's layout."""
_FIELDS: Mapping[str, type | tuple[type, ...]] = {
    "files": dict,
    "model": str,
    "task": str,
    "inputs": list,
    "outputs": list,
    "preprocess": (dict, type(None)),
    "labels": (str, type(None)),
    "platform": (str, type(None)),
    "core": dict,
    "cores": (list, type(None)),
    "weights": dict,
    "kernels": list,
    "source": dict,
}
"""What is read of a manifest, and what each must be."""

SESSION_SECONDS = 3600.0
"""The longest a device is held: a library that never ends gives the board back, and the user a message."""


@dataclass(frozen=True)
class Bundle:
    """A bundle on disk whose files are what its manifest says."""

    path: Path
    manifest: Mapping[str, Any]

    @property
    def library(self) -> Path:
        """What devices load, and `run` runs: the library for TVM's runtime, or else the C library."""
        library = self.path / LIBRARY if self.needs_runtime else self.c_library
        assert library is not None
        return library

    @property
    def needs_runtime(self) -> bool:
        """Whether the library is for TVM's runtime."""
        return LIBRARY in self.manifest["files"]

    @property
    def c_library(self) -> Path | None:
        """The plain C library, where the folder holds one (docs/c-library.md)."""
        names = (name for name in self.manifest["files"] if name.endswith(".so") and name != LIBRARY)
        return next((self.path / name for name in names), None)

    @property
    def core(self) -> str:
        """The name of the core it was compiled for."""
        return str(self.manifest["core"]["name"])

    @property
    def cores(self) -> tuple[str, ...]:
        """The names of all that it has kernels for: a C library may have some for several."""
        return tuple(row["name"] for row in self._core_rows)

    @property
    def platform(self) -> str:
        """The name of the row of `targets.platforms` that it was compiled for."""
        return str(self.manifest.get("platform") or LINUX_ARM.name)

    @property
    def _core_rows(self) -> Sequence[Mapping[str, Any]]:
        rows: Sequence[Mapping[str, Any]] = self.manifest.get("cores") or [self.manifest["core"]]
        return rows

    @property
    def source(self) -> Source:
        """What it was compiled from. UserError where the manifest does not say it as it must."""
        try:
            return Source.from_json(self.manifest["source"])
        except (KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{self.path} is not a bundle: its manifest's source is damaged.") from error

    @property
    def inputs(self) -> tuple[TensorInfo, ...]:
        """The network's inputs, in order."""
        rows = self.manifest["inputs"]
        return tuple(TensorInfo(row["name"], tuple(row["shape"]), row["dtype"]) for row in rows)

    def require_features(self, device: str, features: frozenset[str]) -> None:
        """UserError where `device`, whose CPU has `features`, lacks what the library needs for each core."""
        lacking = [sorted(set(row["features"]) - features) for row in self._core_rows]
        if all(lacking):
            raise UserError(
                f"{self.path} is for {self.core} and needs {', '.join(lacking[0])}, which {device} lacks.\n"
                "Compile it for the device's core (--cpu; `armature cores` lists them)."
            )

    @contextmanager
    def loaded_on(self, device_spec: str) -> Iterator[tuple[Device, Program]]:
        """The device, with the library loaded. Raises as `opened` and `load_on` do."""
        with self.opened(device_spec) as device:
            yield device, self.load_on(device)

    @contextmanager
    def opened(self, device_spec: str) -> Iterator[Device]:
        """A device that can load the library.

        Raises UserError where the device is unknown or its system is another than the library's, DeviceError
        where it fails.
        """
        require_platform(device_spec, self.platform)
        # What an emulated board emulates where nothing is said; this machine's core is in no table.
        core = None if device_spec == HOST else find_core(self.core)
        with open_device(device_spec, core, SESSION_SECONDS) as device:
            yield device

    def load_on(self, device: Device) -> Program:
        """The library, loaded there. UserError where its CPU is another than the library's, DeviceError where
        that fails.
        """
        self.require_features(device.spec, device.features)
        load = device.load if self.needs_runtime else device.load_c_library
        return load(self.library)

    @property
    def labels(self) -> str | None:
        """The label set of its classes, as `compile.labels` knows it."""
        found: str | None = self.manifest["labels"]
        return str(self.path / LABELS) if found == LABELS else found

    @property
    def preprocess(self) -> Preprocess | None:
        """How an image becomes its input; None where its input is no image."""
        steps = self.manifest["preprocess"]
        return None if steps is None else Preprocess.from_json(steps)


def open_bundle(path: Path) -> Bundle:
    """The bundle at `path`; UserError when it is none, or a file in it is not as its manifest says."""
    manifest = _read_manifest(path)
    for name, expected in manifest["files"].items():
        file = path / name
        if file.name != name or file.is_symlink() or name == "..":
            raise UserError(
                f"{path} is not to be trusted: its manifest names {name!r}, which is no file of it."
            )
        if not file.is_file():
            raise UserError(f"{path} is not whole: {name} is missing. Compile it again.")
        if sha256(file) != expected:
            raise UserError(
                f"{file} was changed since it was compiled (its sha256 differs). Compile it again."
            )
    if manifest["labels"] not in (None, *label_sets(), *({LABELS} & set(manifest["files"]))):
        raise UserError(
            f"{path} is not to be trusted: its manifest takes labels from {manifest['labels']!r}."
        )
    bundle = Bundle(path, manifest)
    if not bundle.needs_runtime and bundle.c_library is None:
        raise UserError(f"{path} is not a bundle: its {MANIFEST} names no library. Compile it again.")
    return bundle


def _read_manifest(path: Path) -> dict[str, Any]:
    if not path.is_dir():
        raise UserError(f"There is no bundle {path}: `compile MODEL -o {path}` makes one.")
    try:
        manifest: dict[str, Any] = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        version = manifest["format"]
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"{path} is not a bundle: it has no readable {MANIFEST}.") from None
    if version != FORMAT:
        raise UserError(f"{path} has format {version}, this version reads {FORMAT}: compile it again.")
    wrong = [name for name, kind in _FIELDS.items() if not isinstance(manifest.get(name), kind)]
    if wrong:
        raise UserError(f"{path} is not a bundle: its manifest has no {wrong[0]!r} as it must be.")
    return manifest


@contextmanager
def new_bundle(path: Path) -> Iterator[Path]:
    """A folder to fill, which becomes `path` when the block ends well, and vanishes when it does not.

    An earlier bundle at `path` is replaced. Raises UserError when something else is there, or when the
    place cannot be written to.
    """
    require_free(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    except OSError as error:
        raise UserError(
            f"Cannot write to {path.parent} ({error.strerror}): give another folder with -o."
        ) from error
    try:
        yield aside
        aside.chmod(0o755)
        _replace(aside, path)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def require_free(path: Path) -> None:
    """UserError unless `path` is free, empty, or an earlier bundle."""
    if not path.exists() and not path.is_symlink():
        return
    if not path.is_dir():
        raise UserError(f"{path} is a file: give a folder with -o.")
    try:
        is_ours = not any(path.iterdir()) or (path / MANIFEST).is_file()
    except OSError as error:
        raise UserError(f"Cannot read {path} ({error.strerror}): give another folder with -o.") from error
    if not is_ours:
        raise UserError(f"{path} holds something other than a bundle: give another folder with -o.")
    if not os.access(path, os.W_OK):
        raise UserError(f"Cannot write to {path}: give another folder with -o.")


def _replace(aside: Path, path: Path) -> None:
    if not path.exists():
        aside.rename(path)
        return
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.old.", dir=path.parent) as old:
        path.rename(Path(old) / path.name)
        aside.rename(path)


def write_manifest(folder: Path, description: Mapping[str, Any]) -> dict[str, Any]:
    """Write the manifest beside the files that are in `folder`, with the sha256 of each, and return it."""
    files = {file.name: sha256(file) for file in sorted(folder.iterdir()) if file.is_file()}
    manifest = {**description, "files": files}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    return manifest
