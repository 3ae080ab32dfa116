"""LLVM's machine-code tools, the newest of each that PATH names."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from targets.errors import DeviceError, UserError

TOOL_SECONDS = 300.0


@dataclass(frozen=True)
class Tool:
    """A program, its major version, and what it says of its version."""

    path: str
    version: int
    said: str


@functools.cache
def newest_tool(name: str) -> Tool:
    """The newest of NAME and NAME-NN on PATH."""
    numbered = re.compile(rf"{re.escape(name)}(-\d+)?")
    folders = [Path(folder) for folder in os.environ.get("PATH", "").split(os.pathsep) if folder]
    names = {entry.name for folder in folders for entry in folder.glob(f"{name}*")}
    found = [tool for each in sorted(names) if numbered.fullmatch(each) and (tool := _ask(each))]
    if not found:
        raise UserError(f"{name} was not found on PATH: install LLVM 19 or newer (Debian: llvm-22)")
    return max(found, key=lambda tool: tool.version)


def run_tool(tool: Tool, arguments: list[str], text: str) -> tuple[int, str, str]:
    """Exit code, output and messages of the tool on `text`."""
    try:
        done = subprocess.run(
            [tool.path, *arguments],
            input=text,
            capture_output=True,
            text=True,
            timeout=TOOL_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise DeviceError(f"{tool.path} did not end within {TOOL_SECONDS:.0f} s") from error
    return done.returncode, done.stdout, done.stderr


def _ask(name: str) -> Tool | None:
    path = shutil.which(name)
    if path is None:
        return None
    _, said, _ = run_tool(Tool(path, 0, ""), ["--version"], "")
    version = re.search(r"LLVM version (\d+)\S*", said)
    return Tool(path, int(version[1]), version[0]) if version else None
