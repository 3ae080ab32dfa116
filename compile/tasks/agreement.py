"""How far PyTorch's outputs and the device's differ, whatever they mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compile.tasks.task import Arrays, Record

TOLERANCE = 1e-3
"""Largest allowed difference, as a part of the outputs' scale (the largest of PyTorch's for that input)."""

AGREEMENT = 0.999
"""Least part of whole numbers (the pixels of a class map) that must be equal: between two classes that are
nearly as likely, the order of additions decides.
"""

_WHOLE = "iub"
"""Kinds of dtype."""


def agreement(reference: Arrays, device: Arrays) -> dict[str, Any]:
    """`max_abs_error` and `scale` of what is no whole number; of these the least part that is `agreement`.

    `scale` is the largest absolute value of PyTorch's; `agreement` is None where there are no whole numbers.
    """
    pairs = list(zip(reference, device, strict=True))
    numbers = [pair for pair in pairs if pair[0].dtype.kind not in _WHOLE]
    whole = [pair for pair in pairs if pair[0].dtype.kind in _WHOLE]
    error = max((_difference(*pair) for pair in numbers), default=0.0)
    scale = max((float(np.abs(ours).max()) for ours, _ in numbers), default=0.0)
    equal = min((_equal(*pair) for pair in whole), default=None)
    agrees = error <= TOLERANCE * scale and (equal is None or equal >= AGREEMENT)
    return {"max_abs_error": error, "scale": scale, "agreement": equal, "passed": agrees}


def agreement_totals(records: Sequence[Record]) -> dict[str, Any]:
    """The worst of `agreement` of all inputs."""
    equal = [record["agreement"] for record in records if record["agreement"] is not None]
    return {
        "max_abs_error": max(record["max_abs_error"] for record in records),
        "tolerance": TOLERANCE,
        "agreement": min(equal, default=None),
    }


def _difference(reference: NDArray[Any], device: NDArray[Any]) -> float:
    """The largest absolute difference; infinite where a value is not a number or the shapes differ."""
    if reference.shape != device.shape or not np.isfinite(device).all():
        return float("inf")
    return float(np.abs(reference - device).max())


def _equal(reference: NDArray[Any], device: NDArray[Any]) -> float:
    """The part of elements that are equal; none where the shapes differ."""
    return float((reference == device).mean()) if reference.shape == device.shape else 0.0
