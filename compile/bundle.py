"""The deployable folder: the library, the program that runs it, and a manifest that says what they are."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import compile as armature
from compile.build import activation_bytes, weight_bytes
from compile.checksum import sha256
from compile.frontend import Source, TensorInfo, Traced
from compile.lower import Lowered
from compile.passes.schedule_kernels import Kernel
from compile.preprocess import Preprocess
from targets.cores import Core
from targets.errors import UserError

MANIFEST = "manifest.json"
LIBRARY = "model.so"
INTERFACE = "interface.txt"
PROGRAM = "run"
FORMAT = 1
"""Version of the manifest's layout."""

_PACKAGES = ("apache-tvm", "apache-tvm-ffi", "torch", "numpy", "ziglang")


@dataclass(frozen=True)
class Bundle:
    """A bundle on disk whose files are what its manifest says."""

    path: Path
    manifest: Mapping[str, Any]

    @property
    def library(self) -> Path:
        """The network's shared library."""
        return self.path / LIBRARY

    @property
    def core(self) -> str:
        """The name of the core it was compiled for."""
        return str(self.manifest["core"]["name"])

    @property
    def required_features(self) -> frozenset[str]:
        """What the device's CPU must have, of `targets.cores.FEATURES`."""
        return frozenset(self.manifest["core"]["features"])

    @property
    def source(self) -> Source:
        """What it was compiled from."""
        return Source.from_json(self.manifest["source"])

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
        if not file.is_file():
            raise UserError(f"{path} is not whole: {name} is missing. Compile it again.")
        if sha256(file) != expected:
            raise UserError(
                f"{file} was changed since it was compiled (its sha256 differs). Compile it again."
            )
    return Bundle(path, manifest)


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
    return manifest


def describe(source: Source, traced: Traced, lowered: Lowered, core: Core) -> dict[str, Any]:
    """The manifest of a network compiled for `core`, JSON-ready, but for its files."""
    return {
        "format": FORMAT,
        "model": traced.name,
        "task": traced.task,
        "inputs": [_tensor(tensor) for tensor in traced.inputs],
        "outputs": [_tensor(tensor) for tensor in traced.outputs],
        "preprocess": traced.preprocess.to_json() if traced.preprocess else None,
        "labels": traced.labels,
        "core": {"name": core.name, "llvm": core.llvm, "features": sorted(core.features)},
        "weights": {"source": traced.weights, "sha256": traced.fingerprint(), "bytes": weight_bytes(lowered)},
        "parameters": traced.parameters,
        "multiply_adds": sum(k.workload.multiply_adds for k in lowered.kernels if k.workload),
        "peak_activation_bytes": activation_bytes(lowered),
        "kernels": [_kernel(kernel) for kernel in lowered.kernels],
        "source": source.to_json(),
        "versions": {
            "armature": armature.__version__,
            **{name: importlib.metadata.version(name) for name in _PACKAGES},
        },
    }


def _tensor(tensor: TensorInfo) -> dict[str, Any]:
    layout = "NCHW" if len(tensor.shape) == 4 else None
    return {**asdict(tensor), "shape": list(tensor.shape), "layout": layout}


def _kernel(kernel: Kernel) -> dict[str, Any]:
    work = kernel.workload
    return {
        "name": kernel.name,
        "kind": work.kind if work else "elementwise",
        "shape": dict(work.shape) if work else {},
        "multiply_adds": work.multiply_adds if work else 0,
        "schedule": kernel.origin,
    }


def interface_text(traced: Traced) -> str:
    """What `run` reads of the network's inputs and outputs: a line each (targets/agent/src/interface.h)."""
    rows = [("input", tensor) for tensor in traced.inputs] + [("output", tensor) for tensor in traced.outputs]
    return "".join(
        f"{role} {tensor.name} {tensor.dtype} {'x'.join(map(str, tensor.shape)) or 'scalar'}\n"
        for role, tensor in rows
    )


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


def write_manifest(folder: Path, description: Mapping[str, Any]) -> None:
    """Write the manifest beside the files that are in `folder`, with the sha256 of each."""
    files = {file.name: sha256(file) for file in sorted(folder.iterdir()) if file.is_file()}
    text = json.dumps({**description, "files": files}, indent=2)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")
