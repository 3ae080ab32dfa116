"""The user's cache folder: things built once, kept under a hash of all that went into them.

An entry is there or it is not: it is built beside its place and renamed, under a lock.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs
from filelock import FileLock


def cache_folder() -> Path:
    """The per-user cache folder, made if need be; the environment's ARMATURE_CACHE overrides it."""
    default = platformdirs.user_cache_dir("armature", appauthor=False)
    folder = Path(os.environ.get("ARMATURE_CACHE") or default).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def content_key(parts: Iterable[str | bytes | Path]) -> str:
    """A hash of texts, bytes, and the contents of files, in their order."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.read_bytes() if isinstance(part, Path) else part
        data = data.encode() if isinstance(data, str) else data
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()[:32]


def cached(kind: str, name: str, build: Callable[[Path], None]) -> Path:
    """The file or folder `kind/name` of the cache, built by `build(path)` when it is not there.

    `name` holds the content key. `build` makes a file or a folder at the path it is given, whose
    name is `name` too. Whatever it raises goes on to the caller, and leaves nothing behind. Who wants
    the same entry at the same time waits.
    """
    place = cache_folder() / kind / name
    if place.exists():
        return place
    place.parent.mkdir(parents=True, exist_ok=True)
    with _locked(place):
        if not place.exists():
            with scratch_folder(place.parent) as scratch:
                build(scratch / place.name)
                (scratch / place.name).rename(place)
    return place


@contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """A folder inside `parent` that is gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix=".building-", dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _locked(place: Path) -> Iterator[None]:
    locks = cache_folder() / "locks"
    locks.mkdir(exist_ok=True)
    with FileLock(locks / f"{place.parent.name}-{place.name}.lock"):
        yield
