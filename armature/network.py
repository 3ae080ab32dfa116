"""A network that is ready to run."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from armature.errors import ArmatureError
from armature.folder import find_library
from armature.interface import Interface
from armature.tensor import Tensor


def load(path: str | os.PathLike[str], threads: int = 1) -> Network:
    """The network at `path`: a folder that `compile` made, its manifest.json, or the library in it. So many
    threads share a call; fewer if the library was compiled for fewer.

    Raises LoadError where there is no library, where it is not the one that the manifest names, or where
    this machine cannot load it; CallError where its CPU lacks what the library needs.
    """
    return Network(Interface(find_library(Path(path))), threads)


class Network:
    """A network with its activations; the weights are the library's, which all networks of it share.

    Threads that call the same network wait for each other: give each `another()`, and they run at once.
    """

    def __init__(self, interface: Interface, threads: int) -> None:
        """A new handle of a loaded library: see `load`."""
        self._interface = interface
        self._handle = interface.create(threads)
        self.threads = interface.threads(self._handle)
        """How many share a call."""
        self._lock = threading.Lock()
        self._end = weakref.finalize(self, interface.destroy, self._handle)

    @property
    def name(self) -> str:
        """What the library's functions begin with."""
        return self._interface.name

    @property
    def core(self) -> str:
        """The core that it was compiled for."""
        return self._interface.core

    @property
    def version(self) -> str:
        """The version of Armature that compiled it."""
        return self._interface.version

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """What a call takes, in order."""
        return self._interface.inputs

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        """What a call gives, in order."""
        return self._interface.outputs

    @property
    def workspace_bytes(self) -> int:
        """The memory of this network beside the weights."""
        return self._interface.workspace_bytes(self.threads)

    def __call__(
        self, *inputs: object, out: Sequence[NDArray[Any]] | None = None
    ) -> tuple[NDArray[Any], ...]:
        """The outputs for `inputs`, one after the other; with `out`, in those arrays.

        Raises TypeError where there are more or fewer than the network has, or for another type of element;
        ValueError for another shape, or for arrays of `out` that share memory with others.
        """
        given = [tensor.given(value) for tensor, value in _paired(self.inputs, inputs, "input")]
        if out is None:
            taken = [np.empty(tensor.shape, tensor.dtype) for tensor in self.outputs]
        else:
            taken = [tensor.taken(array) for tensor, array in _paired(self.outputs, out, "output")]
            _require_apart(given, taken)
        with self._lock:
            self._require_open()
            self._interface.run(self._handle, given, taken)
        return tuple(taken)

    def another(self) -> Network:
        """The same network for another thread: it shares the weights, and has activations of its own."""
        return Network(self._interface, self.threads)

    def close(self) -> None:
        """Give its memory back; it cannot be called again."""
        with self._lock:
            self._end()

    def __enter__(self) -> Network:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        inputs, outputs = (", ".join(map(str, tensors)) for tensors in (self.inputs, self.outputs))
        return f"<Network {self.name} for {self.core}: {inputs} -> {outputs}>"

    def _require_open(self) -> None:
        if not self._end.alive:
            raise ArmatureError(f"{self.name} was closed: load it again")


def _paired(tensors: Sequence[Tensor], values: Sequence[Any], role: str) -> list[tuple[Tensor, Any]]:
    if len(values) != len(tensors):
        names = ", ".join(map(str, tensors))
        raise TypeError(f"the network has {len(tensors)} {role}s, not {len(values)}: {names}")
    return list(zip(tensors, values, strict=True))


def _require_apart(given: Sequence[NDArray[Any]], taken: Sequence[NDArray[Any]]) -> None:
    for at, array in enumerate(taken):
        if any(np.shares_memory(array, other) for other in (*given, *taken[:at])):
            raise ValueError(f"the array for output {at} shares memory with another: give it its own")
