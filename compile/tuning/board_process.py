"""What happens in the process that has a board's session, with which TVM's client is ended when it waits for
ever; and in those that build candidates.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from compile.tuning.candidate import Draws, Inputs, arguments_of, difference, scheduled_candidate
from compile.tuning.task import build
from targets.cores import Core
from targets.emulated.kernel import SYMBOL, Argument
from targets.emulation import why_emulated
from targets.pin import Pin
from targets.place import Place
from targets.rpc import RpcDevice, connect_place
from targets.rpc_kernel import RpcKernel, load_kernel
from targets.toolchain import link_shared

LIBRARY, CALL = "kernel.so", "call.pickle"


@dataclass(frozen=True)
class Nature:
    """What a board is, as far as a search minds."""

    features: frozenset[str]
    emulated: str | None
    """How we know that it is emulated; None for silicon."""


@dataclass
class _Session:
    stack: ExitStack = field(default_factory=ExitStack)
    device: RpcDevice | None = None
    kernel: RpcKernel | None = None
    inputs: Inputs | None = None


_session = _Session()


def build_candidate(text: str, roles: tuple[str, ...], draws: Draws, core: Core, folder: Path) -> None:
    """Leave in `folder` what a board needs to measure a candidate."""
    inputs, scheduled = scheduled_candidate(text, roles, draws, core)
    build(scheduled, SYMBOL, core).export_library(
        str(folder / LIBRARY),
        fcompile=lambda output, objects, **_: link_shared(list(map(Path, objects)), Path(output)),
    )
    write_call(folder, arguments_of(inputs, scheduled), inputs)


def write_call(folder: Path, arguments: Sequence[Argument], inputs: Inputs) -> None:
    """Beside a library: what it is called with, and what it must answer."""
    (folder / CALL).write_bytes(pickle.dumps((list(arguments), inputs)))


def get_ready() -> None:
    """The process has started and imported what it needs: now a board may wait for it."""


def connect(spec: str, place: Place, pin: Pin | None = None) -> Nature:
    """Hold the board at `place`, on its CPUs `pin`. Raises DeviceError; UserError where it has no such."""
    release()
    device = _session.stack.enter_context(connect_place(spec, place))
    _session.device = device
    if pin is not None:
        device.pin(pin)
    return Nature(device.features, why_emulated(device.state()))


def load(folder: Path) -> None:
    """Take a candidate to the board that is held. Raises DeviceError."""
    assert _session.device is not None
    arguments, _session.inputs = pickle.loads((folder / CALL).read_bytes())
    _session.kernel = load_kernel(_session.device, folder / LIBRARY, arguments)


def run() -> str:
    """Call it; what is wrong with its result, empty when nothing is. Raises DeviceError."""
    assert _session.kernel is not None and _session.inputs is not None
    return difference(_session.inputs, _session.kernel.run())


def seconds() -> float:
    """What a call takes. Raises DeviceError."""
    assert _session.kernel is not None
    return _session.kernel.seconds()


def release() -> None:
    """Give the board back."""
    _session.kernel = _session.device = None
    _session.stack.close()


def look(spec: str, place: Place, pin: Pin | None = None) -> Nature:
    """What the board is, and let it go. Raises as `connect` does."""
    nature = connect(spec, place, pin)
    release()
    return nature
