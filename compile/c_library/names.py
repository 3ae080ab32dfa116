"""What things are called in a C library: its own name, and its kernels' functions."""

from __future__ import annotations

import re


def c_name(model: str) -> str:
    """The name of a model as a C identifier, to which the header's names are appended."""
    name = re.sub(r"\W+", "_", model, flags=re.ASCII).strip("_")
    return name if name[:1].isalpha() else f"model_{name}"


def kernel_symbol(name: str, core: str, kernel: str) -> str:
    """The C function of a kernel for a core."""
    return f"{name}_{c_name(core)}_{kernel}"


def share_name(kernel: str, number: int) -> str:
    """The kernel that does a thread's share of `kernel`, laid out in one of several ways."""
    return f"{kernel}_share{number}"


def kernel_of_share(share: str) -> str:
    """The kernel whose share this is; itself, where it is none."""
    return re.sub(r"_share\d+$", "", share)
