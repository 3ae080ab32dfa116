"""What the tests of boards share: the agent, and a small network for it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.boards import close_boards

if TYPE_CHECKING:
    import tvm
    from tvm import te

ARM = {"kind": "llvm", "mtriple": "aarch64-linux-gnu", "mcpu": "cortex-a53"}


@pytest.fixture(scope="session")
def agent() -> Path:
    from targets.agent.build import build_agent

    return build_agent()


@pytest.fixture(scope="session")
def tiny_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of two inputs and two outputs, on threads: (2 * x + y, relu(y)), shapes 2x64."""
    import tvm
    from tvm import relax, te

    from targets.toolchain import link_shared

    def doubled_plus(x: te.Tensor, y: te.Tensor) -> te.Tensor:
        return te.compute(x.shape, lambda i, j: x[i, j] * 2.0 + y[i, j], name="doubled_plus")

    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType((2, 64), "float32"))
    y = relax.Var("y", relax.TensorType((2, 64), "float32"))
    with builder.function("main", [x, y]):
        with builder.dataflow():
            first = builder.emit_te(doubled_plus, x, y)
            second = builder.emit(relax.op.nn.relu(y))
            outputs = builder.emit_output(relax.Tuple([first, second]))
        builder.emit_func_output(outputs)
    module = _on_threads(builder.get(), "doubled_plus")

    def link(output: str, objects: list[str], **_: object) -> None:
        link_shared([Path(name) for name in objects], Path(output))

    path = tmp_path_factory.mktemp("tiny") / "model.so"
    tvm.compile(module, tvm.target.Target(ARM)).export_library(str(path), fcompile=link)
    return path


def _on_threads(module: tvm.IRModule, function: str) -> tvm.IRModule:
    """The module with the function's outer loop on TVM's thread pool."""
    from tvm.s_tir import Schedule

    schedule = Schedule(module)
    schedule.work_on(function)
    outer, _ = schedule.get_loops(schedule.get_sblock(function))
    schedule.parallel(outer)
    return schedule.mod


@pytest.fixture(scope="session")
def tiny_inputs() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    x, y = generator.standard_normal((2, 2, 64), dtype=np.float32)
    return x, y


@pytest.fixture(scope="session")
def tiny_outputs(tiny_inputs: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    x, y = tiny_inputs
    return 2 * x + y, np.maximum(y, 0)


@pytest.fixture(autouse=True, scope="module")
def no_other_boards() -> None:
    """Ended, since the tests here look for processes that are left."""
    close_boards()
