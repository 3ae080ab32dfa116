"""What adb, and a device that it reaches, say when something is wrong, and what to do."""

from __future__ import annotations

from targets.errors import DeviceError, LostError
from targets.shell.failures import SHELL, Rows

# Of adb 29 (Debian 12) and its sources (adb.cpp, transport.cpp); the first that is found holds.
LINK: Rows = (
    (r"device unauthorized|still authorizing", DeviceError,
     "has not allowed this machine: unlock it and answer the question on its screen (Allow USB debugging)"),
    (r"device offline|still connecting", LostError,
     "is offline: plug it in anew, or `adb reconnect offline`"),
    (r"no permissions|insufficient permissions", DeviceError,
     "may not be opened by you ({said}): its udev rule is missing "
     "(apt-get install android-sdk-platform-tools-common)"),
    (r"device '.*' not found|no devices", LostError,
     "is not reachable: `adb devices` does not list DESTINATION. Plug it in and allow USB debugging, "
     "or `adb connect` it"),
    (r"cannot connect to daemon|failed to start|didn't ACK|cannot bind|version .* doesn't match", DeviceError,
     "cannot be reached, since adb's server on this machine does not start or answer ({said}): "
     "adb kill-server"),
    (r"cannot forward|cannot bind listener|more than one device", DeviceError, "cannot be reached: {said}"),
)  # fmt: skip

BOARD: Rows = (
    *SHELL,
    (r"couldn't create file|remote .* failed|failed to copy", DeviceError,
     "cannot store the agent in FOLDER ({said})"),
    (r"not found|inaccessible|No such file", DeviceError,
     "cannot start the agent ({said}): are the words of `prefix` there?"),
)  # fmt: skip
"""What the shell says beside what every board's does; the C library is ours."""

TOO_OLD = "has an adbd without the shell protocol: Android 7 or newer is needed"
