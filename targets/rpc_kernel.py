"""One kernel alone on a board: called for its result, and timed by the board's own clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import tvm
from numpy.typing import NDArray

from targets.emulated.kernel import SYMBOL, Argument
from targets.rpc import SAMPLE, Link, RpcDevice

TIMED_SECONDS = 0.2
"""About how long the repeats take together, without what is between them."""
FEWEST, MOST = 5, 100
"""Repeats, whatever they take."""
FLUSH = "cache_flush_cpu_non_first_arg"
"""TVM's (rpc_module.cc): takes every argument but the first out of the caches."""


@dataclass(frozen=True)
class RpcKernel:
    """A kernel loaded on a board, with its tensors."""

    link: Link
    module: Any
    device: Any
    tensors: Sequence[Any]
    output: int
    """Which of the tensors it is."""

    def run(self) -> NDArray[Any]:
        """Its first output. Raises DeviceError when it crashes or the board is lost."""
        with self.link.explained("running the kernel"):
            self.module[SYMBOL](*self.tensors)
            found: NDArray[Any] = self.tensors[self.output].numpy()
            return found

    def seconds(self) -> float:
        """What a call takes: the median of single calls. Raises DeviceError as `run` does.

        Before each, weights and output are taken out of the caches while the first tensor, the data, stays:
        it is found as in the midst of a network, and as the emulated board's kernel.c has it. Without that
        weights would be read from a cache that in a network holds other layers' by then; TVM's
        cache_flush_bytes would make the data as cold as the weights. So there is one call to a repeat
        (`number`), and no min_repeat_ms, which adds calls that would find everything warm.
        """
        with self.link.explained("timing the kernel"):
            first = median(self._times(FEWEST, FLUSH))
            repeats = min(MOST, int(TIMED_SECONDS / max(first, 1e-9)))
            return first if repeats <= FEWEST else median(self._times(repeats, FLUSH))

    def sampled(self, repeats: int) -> Sequence[float]:
        """The seconds of so many calls in turn, with all in the caches; the board notes its clock before each
        (`RpcDevice.state`). Raises DeviceError as `run` does.
        """
        with self.link.explained("timing the kernel"):
            return self._times(repeats, SAMPLE)

    def _times(self, repeats: int, before: str) -> Sequence[float]:
        evaluate = self.module.time_evaluator(SYMBOL, self.device, number=1, repeat=repeats, f_preproc=before)
        found: Sequence[float] = evaluate(*self.tensors).results
        return found


def load_kernel(device: RpcDevice, library: Path, arguments: Sequence[Argument]) -> RpcKernel:
    """The kernel SYMBOL of a shared library, with its tensors on the board.

    Raises DeviceError when it does not load there, or the link was lost.
    """
    with device.link.explained("loading the kernel"):
        cpu = device.link.session.cpu(0)
        tensors = [tvm.runtime.tensor(_filled(each), cpu) for each in arguments]
        output = [each.role for each in arguments].index("output")
        return RpcKernel(device.link, device.load_module(library), cpu, tensors, output)


def _filled(argument: Argument) -> NDArray[Any]:
    """A tensor's values, or NaN: what the kernel does not write must not be another's right result."""
    if argument.values is not None:
        return np.ascontiguousarray(argument.values)
    bits = np.full(int(np.prod(argument.shape)) * np.dtype(argument.dtype).itemsize, 0xFF, np.uint8)
    return bits.view(argument.dtype).reshape(argument.shape)
