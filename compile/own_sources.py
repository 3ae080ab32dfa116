"""Which callables this user has compiled from: a manifest from elsewhere may name others, which are not run.

A mark for each lies in the user's cache folder; who can write there can change what Armature runs anyway.
"""

from __future__ import annotations

import importlib.machinery
import json
import sys
from contextlib import suppress
from pathlib import Path

from compile.source import Source
from targets.cache import cache_folder, content_key
from targets.errors import UserError

_FOLDER = "own-sources"


def remember(source: Source) -> None:
    """That the user had this network built; only of callables is that kept."""
    if _runs_code(source):
        mark = _mark(source)
        mark.parent.mkdir(exist_ok=True)
        mark.touch()


def require_own(source: Source) -> None:
    """UserError where building this network runs a callable that the user has not compiled, nor trusts."""
    if not _runs_code(source) or source.trust or _mark(source).exists():
        return
    raise UserError(
        f"The bundle names {source.model} as its source, which you have not compiled from here: comparing "
        "with it would run that code.\nGive --trust, if you trust whoever made the bundle."
    )


def _runs_code(source: Source) -> bool:
    return ":" in source.model and not source.model.endswith(".pt2")


def _mark(source: Source) -> Path:
    """Of the callable, its arguments, and where its package lies: another of the same name is another's."""
    package = source.model.partition(":")[0].partition(".")[0]
    parts = [source.model, json.dumps(sorted(source.args.items())), _origin(package)]
    return cache_folder() / _FOLDER / content_key(parts)


def _origin(package: str) -> str:
    """Where a package is found, without running it; empty where it is not."""
    path = [str(Path.cwd()), *sys.path]
    with suppress(ValueError, ImportError):
        spec = importlib.machinery.PathFinder.find_spec(package, path)
        if spec is not None:
            return str(spec.origin or sorted(spec.submodule_search_locations or ()))
    return ""
