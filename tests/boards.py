"""Kernels and networks on the emulated board: its agent is started once for each core that tests use."""

from __future__ import annotations

import atexit
import contextlib
import functools
import itertools
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tvm
from tvm.tirx import PrimFunc

from compile.build import build_library
from compile.lower import Lowered
from targets.cores import Core
from targets.device import open_device
from targets.toolchain import link_shared

_BOARDS = contextlib.ExitStack()
_NUMBERS = itertools.count()
atexit.register(_BOARDS.close)


@functools.cache
def board(core: Core) -> Any:
    """The device, which stays open until the tests end."""
    return _BOARDS.enter_context(open_device(f"emulated:{core.name}"))


def run_network(network: Lowered, core: Core, *inputs: np.ndarray) -> list[np.ndarray]:
    """The outputs of a lowered network, built for `core`."""
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / f"network-{next(_NUMBERS)}.so"
        build_library(network, core, library)
        return list(board(core).load(library).run(*inputs))


def run_kernel(function: PrimFunc, core: Core, values: Sequence[np.ndarray]) -> list[np.ndarray]:
    """What a scheduled kernel, built for `core`, makes of its parameters' `values`."""
    module = tvm.IRModule({"main": function.with_attr("global_symbol", "main")})
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / f"kernel-{next(_NUMBERS)}.so"
        tvm.tirx.build(module, target=core.target()).export_library(
            str(library),
            fcompile=lambda output, objects, **_: link_shared(list(map(Path, objects)), Path(output)),
        )
        session = board(core).link.session
        session.upload(str(library), target=library.name)
        loaded = session.load_module(library.name)
        tensors = [tvm.runtime.tensor(np.ascontiguousarray(value), session.cpu(0)) for value in values]
        loaded["main"](*tensors)
        return [tensor.numpy() for tensor in tensors]


def close_boards() -> None:
    """End the agents; the next use starts them again."""
    _BOARDS.close()
    board.cache_clear()
