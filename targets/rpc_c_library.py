"""A C library on a board: our agent loads it beside TVM's modules, and runs and times it there.

What is called is registered by `targets/agent/src/c_library_calls.c`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import tvm
from numpy.typing import NDArray

from targets.errors import DeviceError

if TYPE_CHECKING:
    from targets.rpc import Link

_LOAD, _INTERFACE, _RUN, _TIME = (
    f"armature.c_library.{function}" for function in ("load", "interface", "run", "time")
)


@dataclass(frozen=True)
class RpcCLibrary:
    """A C library loaded on a board, with tensors there for what it takes and gives: see
    `targets.device.Program`.
    """

    link: Link
    device: Any
    number: int
    """The agent's, of this library."""
    inputs: tuple[Any, ...]
    outputs: tuple[Any, ...]

    def run(self, *inputs: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        """See `targets.device.Program`."""
        with self.link.explained("running the network"):
            self._put(inputs)
            self._call(_RUN, self.inputs, self.outputs)
            return tuple(output.numpy() for output in self.outputs)

    def take(self, *inputs: NDArray[Any]) -> None:
        """See `targets.device.Program`."""
        with self.link.explained("giving the network its inputs"):
            self._put(inputs)

    def time(self, inferences: int) -> tuple[float, ...]:
        """See `targets.device.Program`: the agent reads the board's clock around each run."""
        with self.link.explained("timing the network"):
            seconds = tvm.runtime.empty((inferences,), "float64", self.device)
            self._call(_TIME, (seconds,), self.inputs, self.outputs)
            return tuple(map(float, seconds.numpy()))

    def _call(self, function: str, *tensors: Iterable[Any]) -> None:
        self.link.session.get_function(function)(self.number, *(each for group in tensors for each in group))

    def _put(self, inputs: Sequence[NDArray[Any]]) -> None:
        if len(inputs) != len(self.inputs):
            raise ValueError(f"the network has {len(self.inputs)} inputs, not {len(inputs)}")
        for tensor, array in zip(self.inputs, inputs, strict=True):
            if array.dtype != np.dtype(tensor.dtype):
                raise TypeError(f"the network wants {tensor.dtype}, not {array.dtype}")
            tensor.copyfrom(np.ascontiguousarray(array))


def load_c_library(link: Link, file: str, name: str) -> RpcCLibrary:
    """Load the file, which was sent to the board, and whose functions begin with `name`; what is wrong is for
    the caller to explain.
    """
    device = link.session.cpu(0)
    number = int(_function(link, _LOAD)(file, name))
    lines = str(_function(link, _INTERFACE)(number)).splitlines()
    inputs, outputs = (
        tuple(_empty(line, device) for line in lines if line.startswith(f"{role} "))
        for role in ("input", "output")
    )
    return RpcCLibrary(link, device, number, inputs, outputs)


def _empty(line: str, device: Any) -> Any:
    """A tensor on the board as a line of targets/agent/src/interface.h describes it."""
    _, _, dtype, shape = line.split(" ")
    extents = () if shape == "scalar" else tuple(map(int, shape.split("x")))
    return tvm.runtime.empty(extents, dtype, device)


def _function(link: Link, name: str) -> Any:
    try:
        return link.session.get_function(name)
    except AttributeError as error:
        raise DeviceError(
            f"the agent of {link.spec} is too old to load C libraries: start one of this version there"
        ) from error
