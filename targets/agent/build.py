"""Builds the board's program: TVM's runtime from the wheel's sources, and our C. Once, then cached.

Every object file is cached under a hash of what it is made from, so an edit of our C takes seconds.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from functools import cache, partial
from itertools import chain
from pathlib import Path

from targets.agent.sources import GAPS, LINK_FLAGS, Unit, units, wheel_folder
from targets.cache import cached, content_key
from targets.toolchain import compile_object, compile_program, toolchain_versions

log = logging.getLogger(__name__)

COMPILERS = 2  # at a time

Progress = Callable[[str], None]


def build_agent(progress: Progress | None = None) -> Path:
    """The program for the board, built if it is not in the cache.

    `progress` is told what is being built, file by file. The first build takes a few minutes of CPU
    time; when it is interrupted, the object files made so far are kept.

    Raises:
        UserError: Zig is missing, or the build fails.
    """
    tree = _source_tree()
    todo = list(units(tree))
    keys = [_object_key(unit) for unit in todo]
    program_key = content_key([toolchain_versions(), *LINK_FLAGS, *keys])
    return cached("agent", program_key, partial(_build_program, todo, keys, progress or log.info))


def _build_program(todo: list[Unit], keys: list[str], progress: Progress, output: Path) -> None:
    objects = _compile_all(todo, keys, progress)
    progress("linking the agent")
    compile_program(objects, output, LINK_FLAGS)


def _compile_all(todo: list[Unit], keys: list[str], progress: Progress) -> list[Path]:
    def compile_one(position: int) -> Path:
        unit, key = todo[position], keys[position]

        def build(output: Path) -> None:
            progress(f"compiling the agent: {unit.name} ({position + 1} of {len(todo)})")
            compile_object(unit.path, output, _flags(unit))

        return cached("objects", f"{key}.o", build)

    pool = ThreadPoolExecutor(COMPILERS)
    try:
        futures = [pool.submit(compile_one, position) for position in range(len(todo))]
        wait(futures, return_when=FIRST_EXCEPTION)
        for future in futures:
            if future.done():
                future.result()
        return [future.result() for future in futures]
    finally:
        pool.shutdown(cancel_futures=True)


def _flags(unit: Unit) -> list[str]:
    return [*unit.flags, *(f"-I{folder}" for folder in unit.reads)]


def _object_key(unit: Unit) -> str:
    headers = chain.from_iterable(_headers_key(folder) for folder in unit.reads)
    return content_key([toolchain_versions(), unit.name, unit.path, *unit.flags, *headers])


@cache
def _headers_key(folder: Path) -> tuple[str]:
    return (content_key(_tree_parts(folder, sorted(folder.rglob("*.h")))),)


def _source_tree() -> Path:
    """TVM's runtime sources and our stand-ins for the headers the wheel leaves out, in one tree."""
    runtime = wheel_folder("tvm") / "src" / "runtime"
    gaps = sorted(path for path in GAPS.rglob("*") if path.is_file())
    key = content_key([toolchain_versions(), *_tree_parts(GAPS, gaps)])
    return cached("trees", key, partial(_copy_tree, runtime))


def _copy_tree(runtime: Path, output: Path) -> None:
    shutil.copytree(GAPS, output)
    shutil.copytree(runtime, output / "src" / "runtime")


def _tree_parts(root: Path, files: Iterable[Path]) -> list[str | Path]:
    return list(chain.from_iterable((str(path.relative_to(root)), path) for path in files))
