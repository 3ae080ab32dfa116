"""The user's own boards: names for addresses and keys, in boards.toml of the configuration folder."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs

from targets.cores import Core, find_core
from targets.errors import UserError
from targets.pin import Pin, parse_pin

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FILE = "boards.toml"
USES = {
    "ssh": ("key", "ssh_config", "prefix"),
    "adb": ("prefix",),
    "rpc": ("token_file",),
    "tracker": ("token_file",),
}
"""The keys that mean something for one kind of address."""
COMMON = ("address", "core", "pin")
KEYS = (*COMMON, "key", "ssh_config", "prefix", "token_file")


@dataclass(frozen=True)
class UserBoard:
    """A row of boards.toml."""

    address: str
    core: Core | None = None
    pin: Pin | None = None
    """The CPUs that `bench` and `tune` measure on."""
    key: Path | None = None
    """Of SSH."""
    ssh_config: Path | None = None
    """Read by ssh in place of the user's."""
    prefix: tuple[str, ...] = ()
    """The words before the agent's command on the board."""
    token_file: Path | None = None


def boards_file() -> Path:
    """Where boards.toml lies; the environment's ARMATURE_CONFIG overrides its folder."""
    default = platformdirs.user_config_dir("armature", appauthor=False)
    return Path(os.environ.get("ARMATURE_CONFIG") or default) / FILE


def find_user_board(name: str) -> UserBoard | None:
    """The user's board of that name; None without. UserError where the file is not as it must be."""
    return _read(boards_file()).get(name)


def user_board_names() -> tuple[str, ...]:
    """All names there. UserError as above."""
    return tuple(_read(boards_file()))


def _read(file: Path) -> Mapping[str, UserBoard]:
    try:
        table = tomllib.loads(file.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise UserError(f"{file} cannot be read: {error}") from error
    boards = table.pop("boards", {})
    if table or not isinstance(boards, dict) or not all(isinstance(row, dict) for row in boards.values()):
        other = next(iter(table), "boards")
        raise UserError(f"{file}: {other!r} is not known: boards stand under [boards.NAME] (docs/boards.md)")
    return {name: _board(f"{file}: [boards.{name}]", name, row) for name, row in boards.items()}


def _board(where: str, name: str, row: Mapping[str, Any]) -> UserBoard:
    if set(name) & set(":/ ") or name in ("emulated", "host"):
        raise UserError(f"{where}: a name has no ':', '/' or space, and is none of `emulated` and `host`")
    for key, value in row.items():
        if key not in KEYS:
            raise UserError(f"{where}: {key!r} is not known: the keys are {', '.join(KEYS)}")
        if not isinstance(value, str) or not value:
            raise UserError(f'{where}: {key} must be text in quotes: {key} = "..."')
    address = row.get("address", "")
    scheme, slashes, _ = address.partition("://")
    if not slashes or scheme not in USES:
        raise UserError(f'{where}: address is missing or of no kind: address = "ssh://USER@HOST"')
    wrong = next((key for key in row if key not in (*COMMON, *USES[scheme])), None)
    if wrong:
        raise UserError(f"{where}: {wrong} has no use with {scheme}://: take it out")
    return UserBoard(
        address,
        _core(where, row),
        _pin(where, row),
        _path(where, row, "key"),
        _path(where, row, "ssh_config"),
        tuple(shlex.split(row.get("prefix", ""))),
        _path(where, row, "token_file"),
    )


def _core(where: str, row: Mapping[str, Any]) -> Core | None:
    try:
        return find_core(row["core"]) if "core" in row else None
    except UserError as error:
        raise UserError(f"{where}: core: {error}") from error


def _pin(where: str, row: Mapping[str, Any]) -> Pin | None:
    try:
        return parse_pin(row["pin"]) if "pin" in row else None
    except UserError as error:
        raise UserError(f"{where}: pin: {error}") from error


def _path(where: str, row: Mapping[str, Any], key: str) -> Path | None:
    if key not in row:
        return None
    path = Path(row[key]).expanduser()
    if not path.is_file():
        raise UserError(f"{where}: {key}: there is no file {path}")
    return path
