"""The two ways a user's request can fail; the command line turns each into an exit code."""

from __future__ import annotations


class UserError(Exception):
    """The user's input cannot be used (exit code 2).

    The message is one or two lines: what is wrong, where, and what to do about it.
    """


class DeviceError(Exception):
    """A device failed while doing what was asked of it (exit code 1).

    The message names the device, what it was doing, and how it failed (signal, time-out, lost link).
    """


class LostError(DeviceError):
    """A board, or the tracker, cannot be reached or went away, and nothing says that a library did it."""
