"""What ssh and the board's shell say when something is wrong, and what to do: rows of words and ours."""

from __future__ import annotations

import re
from collections.abc import Iterable

from targets.errors import DeviceError, LostError
from targets.ssh.address import SshAddress

# Of OpenSSH's client, 8.4 to 9.2; the first that is found holds.
_LINK: tuple[tuple[str, type[DeviceError], str], ...] = (
    (
        r"REMOTE HOST IDENTIFICATION HAS CHANGED|Host key for .* has changed",
        DeviceError,
        "shows another host key than the known one. Find out why; if the board was set up anew: "
        "ssh-keygen -R HOST, then ssh DESTINATION, and compare the fingerprint. It is never overlooked",
    ),
    (
        r"Host key verification failed|host key is known",
        DeviceError,
        "has a host key that is not known yet: ssh DESTINATION once, and compare the fingerprint",
    ),
    (
        r"Permission denied|Too many authentication failures|no mutual signature",
        DeviceError,
        "refused us ({said}): `ssh DESTINATION` must work, without a question where there is no terminal "
        "(ssh-copy-id, an agent, or `key` in boards.toml)",
    ),
    (
        r"Could not resolve|refused|timed out|No route to host|unreachable|Connection (closed|reset)",
        LostError,
        "is not reachable ({said}): is it on, is its SSH server running, is the address right?",
    ),
    (
        r"administratively prohibited|forwarding request failed|Port forwarding is disabled",
        DeviceError,
        "forbids forwarding: AllowTcpForwarding must be yes (or local) in its sshd_config",
    ),
    (r"Bad configuration option|Bad owner or permissions|bad permissions|Can't open user config", DeviceError,
     "cannot be reached with this configuration: {said}"),
)  # fmt: skip

_BOARD: tuple[tuple[str, type[DeviceError], str], ...] = (
    (r"No space left|Disk quota", DeviceError, "has no room for the agent in ~/.cache: free some"),
    (r"Read-only file system|cannot create directory|can't create|Permission denied", DeviceError,
     "cannot store the agent in ~/.cache ({said})"),
    (r"GLIBC_[\d.]+' not found", DeviceError,
     "has too old a C library ({said}): the agent needs glibc 2.28 or newer (Debian 10)"),
    (r"Exec format error|cannot execute binary|ELF: not found|Syntax error|not executable", DeviceError,
     "cannot run a program for 64-bit ARM ({said})"),
    (r"not found|No such file|ld-linux", DeviceError,
     "cannot start the agent ({said}): it needs glibc (not musl) 2.28 or newer, and the words of `prefix`"),
)  # fmt: skip


def explain_link(address: SshAddress, said: Iterable[str]) -> DeviceError:
    """Why ssh ended."""
    return _explain(address, list(said), _LINK, "ended the SSH link")


def explain_board(address: SshAddress, said: Iterable[str], doing: str) -> DeviceError:
    """Why a script on the board failed."""
    return _explain(address, list(said), _BOARD, f"failed while {doing}")


def _explain(
    address: SshAddress, said: list[str], rows: tuple[tuple[str, type[DeviceError], str], ...], otherwise: str
) -> DeviceError:
    for pattern, error, words in rows:
        line = next((line for line in said if re.search(pattern, line)), None)
        if line is not None:
            text = words.replace("DESTINATION", address.destination)
            text = text.replace("HOST", address.destination.rpartition("@")[2])
            return error(f"{address.spec} {text.replace('{said}', line)}")
    return LostError(f"{address.spec} {otherwise}: {said[-1] if said else 'it said nothing'}")
