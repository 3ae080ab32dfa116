"""What ssh, and a board that it reaches, say when something is wrong, and what to do."""

from __future__ import annotations

from targets.errors import DeviceError, LostError
from targets.shell.failures import SHELL, Rows

# Of OpenSSH's client, 8.4 to 9.2; the first that is found holds.
LINK: Rows = (
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

# What a board without our own C library says, beside what every board does.
BOARD: Rows = (
    *SHELL,
    (r"GLIBC_[\d.]+' not found", DeviceError,
     "has too old a C library ({said}): the agent needs glibc 2.28 or newer (Debian 10)"),
    (r"not found|No such file|ld-linux", DeviceError,
     "cannot start the agent ({said}): it needs glibc (not musl) 2.28 or newer, and the words of `prefix`"),
)  # fmt: skip
