"""What cannot be a C library."""

from __future__ import annotations

from targets.errors import UserError


class NoCLibraryError(UserError):
    """The network does something that a C library cannot: as a bundle it can still be compiled."""
