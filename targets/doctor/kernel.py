"""The kernel that a board is tried with: a product of two matrices, as TVM compiles it without a schedule."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tvm
from numpy.typing import NDArray
from tvm import te

from targets.cores import Core
from targets.emulated.kernel import SYMBOL, Argument
from targets.toolchain import link_shared

SIZE = 128
"""Of the matrices: a call takes some milliseconds, long beside the note of the clock before it."""


def trial(core: Core, folder: Path) -> tuple[Path, Sequence[Argument], NDArray[Any]]:
    """The kernel built for `core` in a file of the folder, its arguments, and what NumPy computes of them."""
    left, right = (te.placeholder((SIZE, SIZE), "float32", name) for name in ("left", "right"))
    over = te.reduce_axis((0, SIZE), "over")
    product = te.compute(
        (SIZE, SIZE), lambda i, j: te.sum(left[i, over] * right[over, j], axis=over), name="product"
    )
    function = te.create_prim_func([left, right, product]).with_attr("global_symbol", SYMBOL)
    library = folder / "trial.so"
    tvm.tirx.build(tvm.IRModule({SYMBOL: function}), target=core.target()).export_library(
        str(library), fcompile=_link
    )
    values = np.random.default_rng(0).standard_normal((2, SIZE, SIZE), dtype=np.float32)
    shape = (SIZE, SIZE)
    arguments = [Argument("data", shape, values=each) for each in values]
    return library, [*arguments, Argument("output", shape)], values[0] @ values[1]


def _link(output: str, objects: Sequence[str], **_options: Any) -> None:
    link_shared([Path(path) for path in objects], Path(output))
