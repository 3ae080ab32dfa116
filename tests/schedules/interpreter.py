"""Runs the instructions that the kernels' inner loops are written out in, one vector of float32 at a time."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

LOAD = re.compile(r"ldu?r ([qdsx])(\d+), \[(\w+), #(-?\d+)\]")
INSERT = re.compile(r"ins v(\d+)\.d\[1\], (x\d+)")
MULTIPLY_ADD = re.compile(r"fmla v(\d+)\.4s, v(\d+)\.4s, v(\d+)\.s\[(\d)\]")
ADD = re.compile(r"(add|subs) (\w+), (\w+), #(\d+)(, lsl #12)?")
ELEMENTS = {"q": 4, "d": 2, "s": 1, "x": 2}
BYTES = 4


def run(
    lines: Sequence[str],
    addresses: Mapping[str, int],
    memory: np.ndarray,
    readable: Iterable[tuple[int, int]],
) -> np.ndarray:
    """The 32 vector registers after `lines`, what nothing wrote being NaN.

    `addresses` are general registers: bytes into `memory` (of 4-byte elements), or counts. Every load must
    lie within one of the spans `readable`, in elements.
    """
    general = dict(addresses)
    spans = list(readable)
    vectors = np.full((32, 4), np.nan)
    uppers: dict[str, np.ndarray] = {}
    labels = {line[:-1]: at for at, line in enumerate(lines) if line.endswith(":")}
    at, flags = 0, 0
    while at < len(lines):
        line = lines[at]
        at += 1
        if found := LOAD.fullmatch(line):
            kind, number, base, offset = found.groups()
            first, rest = divmod(general[base] + int(offset), BYTES)
            end = first + ELEMENTS[kind]
            assert rest == 0 and any(low <= first and end <= high for low, high in spans), (
                f"{line} reads outside"
            )
            if kind == "x":
                uppers[f"x{number}"] = memory[first:end]
            else:
                vectors[int(number)] = np.pad(memory[first:end], (0, 4 - ELEMENTS[kind]))
        elif found := INSERT.fullmatch(line):
            vectors[int(found[1]), 2:] = uppers.pop(found[2])
        elif found := MULTIPLY_ADD.fullmatch(line):
            total, weights, pixels, lane = map(int, found.groups())
            vectors[total] += vectors[weights] * vectors[pixels, lane]
        elif found := ADD.fullmatch(line):
            operation, target, source, value, shifted = found.groups()
            amount = int(value) << (12 if shifted else 0)
            general[target] = general[source] + (amount if operation == "add" else -amount)
            flags = general[target] if operation == "subs" else flags
        elif found := re.fullmatch(r"movi v(\d+)\.4s, #0", line):
            vectors[int(found[1])] = 0
        elif found := re.fullmatch(r"cbz (\w+), 2f", line):
            at = labels["2"] if general[found[1]] == 0 else at
        elif line == "b.ne 1b":
            at = labels["1"] if flags else at
        else:
            assert line.endswith(":"), line
    return vectors
