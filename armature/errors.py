"""What can go wrong besides the arguments of a call, which are ValueError and TypeError."""

from __future__ import annotations


class ArmatureError(Exception):
    """Any of these."""


class LoadError(ArmatureError):
    """There is no library, it is not what its manifest says, or this machine cannot load it."""


class CallError(ArmatureError):
    """A function of the library answered with an error code; the message is the library's own."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        """One of the header's."""
