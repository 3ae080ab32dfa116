"""The word that a board's agent and its clients share. It never stands on a command line: all could read it.

The same rules as the agent's own (`targets/agent/src/token.c`).
"""

from __future__ import annotations

import hmac
import os
import stat
from pathlib import Path

from targets.errors import UserError

VARIABLE, FILE_VARIABLE = "ARMATURE_TOKEN", "ARMATURE_TOKEN_FILE"
LEAST, MOST = 32, 256
NONCE_BYTES = PROOF_BYTES = 32
MAKE_ONE = "(umask 077; openssl rand -hex 32 > FILE)"


def find_token(file: Path | None = None) -> str:
    """The token in `file`, else in ARMATURE_TOKEN, else in the file of ARMATURE_TOKEN_FILE; empty without.

    Raises UserError where the file cannot be read, others may read it too, or it holds no token.
    """
    if file is None and (text := os.environ.get(VARIABLE)) is not None:
        return _checked(text, f"${VARIABLE}")
    if file is None and (named := os.environ.get(FILE_VARIABLE)):
        file = Path(named)
    return "" if file is None else _checked(_read_private(file), str(file))


def proof(token: str, who: str, client_nonce: bytes, agent_nonce: bytes) -> bytes:
    """What `who`, client or agent, answers to nonces of both sides to prove that it has the token."""
    return hmac.digest(token.encode(), who.encode() + b"\0" + client_nonce + agent_nonce, "sha256")


def _read_private(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            status = os.fstat(stream.fileno())
            data = stream.read(MOST + 3)
    except OSError as error:
        raise UserError(f"cannot read the token's file {file}: {error.strerror}") from error
    if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o077:
        raise UserError(f"others may read the token in {file}: it must be a file of yours, and chmod 600")
    return data.decode("latin-1")


def _checked(text: str, where: str) -> str:
    token = text.rstrip("\r\n")
    if LEAST <= len(token) <= MOST and all("!" <= letter <= "~" for letter in token):
        return token
    raise UserError(
        f"{where} holds no token: it is {LEAST} to {MOST} letters, digits or signs in one line. "
        f"Make one: {MAKE_ONE}"
    )
