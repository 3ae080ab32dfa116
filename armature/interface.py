"""The C interface of a library by ctypes: compile/c_library/model.h.in, whose every name has a prefix."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from armature.errors import CallError, LoadError
from armature.folder import platform_of
from armature.tensor import Tensor

MAX_RANK = 8
"""The header's, of every library."""


class _Tensor(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("dtype", ctypes.c_char_p),
        ("layout", ctypes.c_char_p),
        ("rank", ctypes.c_size_t),
        ("shape", ctypes.c_int64 * MAX_RANK),
        ("size", ctypes.c_size_t),
        ("alignment", ctypes.c_size_t),
        ("scale", ctypes.c_double),
        ("zero_point", ctypes.c_int64),
    )


class _Options(ctypes.Structure):
    _fields_ = (
        ("workspace", ctypes.c_void_p),
        ("workspace_size", ctypes.c_size_t),
        ("threads", ctypes.c_int),
        ("pin", ctypes.c_int),
        ("core", ctypes.c_char_p),
    )


class _Buffer(ctypes.Structure):
    """A source or a target."""

    _fields_ = (("data", ctypes.c_void_p), ("size", ctypes.c_size_t))


_POINTER, _SIZE, _TEXT = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p
_FUNCTIONS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "version": (_TEXT, ()),
    "core": (_TEXT, (_POINTER,)),
    "message": (_TEXT, (ctypes.c_int,)),
    "input": (ctypes.POINTER(_Tensor), (_SIZE,)),
    "output": (ctypes.POINTER(_Tensor), (_SIZE,)),
    "workspace_size": (_SIZE, (ctypes.POINTER(_Options),)),
    "create": (ctypes.c_int, (ctypes.POINTER(_Options), ctypes.POINTER(_POINTER))),
    "threads": (ctypes.c_int, (_POINTER,)),
    "run": (ctypes.c_int, (_POINTER, ctypes.POINTER(_Buffer), ctypes.POINTER(_Buffer))),
    "destroy": (ctypes.c_int, (_POINTER,)),
}
"""What each function returns and takes."""


class Interface:
    """A loaded library. Loading the same file again shares its weights."""

    def __init__(self, file: Path) -> None:
        """Raises LoadError where it does not load, or is no such library."""
        self.file = file
        self.name = file.stem.removeprefix("lib")
        try:
            library = ctypes.CDLL(str(file.absolute()))
        except OSError as error:
            raise LoadError(f"{file}, for {platform_of(file)}, does not load here: {error}") from None
        self._functions = {name: self._function(library, name) for name in _FUNCTIONS}
        self.version: str = self._functions["version"]().decode()
        self.core: str = self._functions["core"](None).decode()
        self.inputs = self._tensors("input")
        self.outputs = self._tensors("output")

    def create(self, threads: int) -> int:
        """A new handle of so many threads. Raises CallError where this CPU or its memory does not do."""
        handle = _POINTER()
        self._check("create", _Options(threads=threads), ctypes.byref(handle))
        assert handle.value is not None
        return handle.value

    def threads(self, handle: int) -> int:
        """How many threads share a run of a handle."""
        return int(self._functions["threads"](handle))

    def workspace_bytes(self, threads: int) -> int:
        """Of a handle of so many threads."""
        return int(self._functions["workspace_size"](_Options(threads=threads)))

    def run(self, handle: int, inputs: Sequence[NDArray[Any]], outputs: Sequence[NDArray[Any]]) -> None:
        """Run the network of `handle`; other Python threads go on. Raises CallError."""
        self._check("run", handle, _buffers(inputs), _buffers(outputs))

    def destroy(self, handle: int) -> None:
        """End a handle, which must not be running."""
        self._check("destroy", handle)

    def _check(self, name: str, *arguments: object) -> None:
        code = self._functions[name](*arguments)
        if code:
            raise CallError(code, f"{self.file.name}: {self._functions['message'](code).decode()}")

    def _function(self, library: ctypes.CDLL, name: str) -> Any:
        try:
            function = getattr(library, f"{self.name}_{name}")
        except AttributeError:
            raise LoadError(
                f"{self.file} has no function {self.name}_{name}: it is no C library of this version, or was"
                " renamed"
            ) from None
        function.restype, function.argtypes = _FUNCTIONS[name]
        return function

    def _tensors(self, role: str) -> tuple[Tensor, ...]:
        found: list[Tensor] = []
        while row := self._functions[role](len(found)):
            tensor = row.contents
            shape = tuple(tensor.shape[: tensor.rank])
            found.append(
                Tensor(tensor.name.decode(), np.dtype(tensor.dtype.decode()), shape, tensor.layout.decode())
            )
        return tuple(found)


def _buffers(arrays: Sequence[NDArray[Any]]) -> Any:
    return (_Buffer * len(arrays))(*(_Buffer(array.ctypes.data, array.nbytes) for array in arrays))
