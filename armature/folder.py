"""Where the library is: in a folder, beside a manifest, or a file itself; and whether it is whole."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from armature.errors import LoadError

MANIFEST = "manifest.json"
BUNDLED = "model.so"
"""A bundle's library, which is for TVM's runtime."""


def find_library(path: Path) -> Path:
    """The C library at `path`: a folder, its manifest, or the library itself.

    Raises LoadError where there is none, or where it is not the one that the manifest beside it names.
    """
    if not path.exists():
        raise LoadError(f"there is no {path}: `compile MODEL --target host -o FOLDER` makes a library")
    folder = path if path.is_dir() else path.parent
    files = _files(folder)
    library = path if path.suffix == ".so" else _only(folder, files)
    if files and library.name not in files:
        raise LoadError(f"{library} is not a file that the manifest beside it names: move it elsewhere")
    if files and _sha256(library) != files[library.name]:
        raise LoadError(f"{library} was changed since it was compiled (its sha256 differs): compile it again")
    return library


def platform_of(library: Path) -> str:
    """What it was compiled for, in words, as far as a manifest beside it says."""
    manifest = _manifest(library.parent)
    core = manifest.get("core", {}).get("name")
    return f"{manifest.get('platform', 'linux-aarch64')}, {core}" if core else "an unknown platform"


def _only(folder: Path, files: dict[str, str]) -> Path:
    found = [name for name in files if name.endswith(".so")] or [each.name for each in folder.glob("lib*.so")]
    libraries = [folder / name for name in found if name != BUNDLED]
    if len(libraries) == 1 and libraries[0].is_file():
        return libraries[0]
    if len(libraries) > 1:
        raise LoadError(f"{folder} holds {len(libraries)} libraries: name one of them")
    raise LoadError(
        f"{folder} holds no C library: compile the model with --format c-library or --target host"
    )


def _files(folder: Path) -> dict[str, str]:
    """The sha256 of each file that the manifest names, if there is one."""
    files = _manifest(folder).get("files", {})
    if not isinstance(files, dict):
        return {}
    outside = [name for name in files if Path(name).name != name or name == ".."]
    if outside:
        raise LoadError(f"{folder} is not to be trusted: its manifest names {outside[0]!r}, outside of it")
    return {str(name): str(digest) for name, digest in files.items()}


def _manifest(folder: Path) -> dict[str, Any]:
    file = folder / MANIFEST
    if not file.exists():
        return {}
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = None
    if not isinstance(found, dict):
        raise LoadError(f"{file} cannot be read as a manifest: compile the model again, or take it away")
    return found


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        digest = hashlib.sha256()
        while block := content.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
