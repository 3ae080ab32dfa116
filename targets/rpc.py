"""A board over TVM RPC: connecting without waiting for ever, and errors that say what happened.

The board runs our agent (`targets/agent`), which says what its CPU can do and why a session ended.
"""

from __future__ import annotations

import itertools
import json
import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tvm
from numpy.typing import NDArray
from tvm.runtime.vm import VirtualMachine

from targets.board_state import BoardState, cpu_list, parse_state
from targets.cores import Core
from targets.errors import DeviceError, LostError
from targets.handover import open_session
from targets.pin import Pin
from targets.place import Place, greet
from targets.rpc_c_library import RpcCLibrary, load_c_library
from targets.tracker import Tracker

if TYPE_CHECKING:
    from targets.emulated.board import EmulatedBoard

CONNECT_SECONDS = 30.0  # for our turn: longer means that another client holds the board

# What our agent registers (targets/agent/src/session.c).
DEVICE_INFO = "armature.device_info"
STATE = "armature.board.state"
SAMPLE = "armature.board.sample"
PIN = "armature.board.pin"
GOVERNOR = "armature.board.governor"

# How TVM's client words a dead socket; `code=` is its own "shut down", met where an answer was due.
_LOST = re.compile(
    r"socket|connection|channel|broken pipe|RPCCode::kReturn\b.*code=(1\b|kShutdown)", re.IGNORECASE
)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Link:
    """A session with a board, and how to explain its failures.

    Attributes:
        spec: the device as the user names it.
        session: TVM's session.
        last_words: what the agent said last of a session that failed, where its log is at hand.
    """

    spec: str
    session: Any
    last_words: Callable[[], str] | None = None

    @contextmanager
    def explained(self, doing: str) -> Iterator[None]:
        """Turns what TVM raises while `doing` into a DeviceError that names the device and the cause;
        a LostError where the board is gone and the agent does not blame the library.
        """
        try:
            yield
        except (RuntimeError, OSError, ValueError, TypeError, AttributeError, KeyError) as error:
            log.debug("%s: %s failed", self.spec, doing, exc_info=True)
            raise self._explain(doing, str(error)) from error

    def _explain(self, doing: str, message: str) -> DeviceError:
        said = self.last_words() if self.last_words else ""
        both = f"{message}\n{said}"
        crash = re.search(r"session crashed: signal \d+ \((\w+)\)", both)
        if crash:
            told = f" ({said})" if said else ""
            return DeviceError(f"the library crashed on {self.spec}: {crash.group(1)} while {doing}{told}")
        full = re.search(r"session ran out of memory: (it had \d+ MiB, allowed are \d+ MiB)", both)
        if full:
            return DeviceError(f"the library ran out of memory on {self.spec} while {doing}: {full.group(1)}")
        stored = re.search(r"session (stored more than \d+ MiB, its limit)", both)
        if stored:
            return DeviceError(f"{self.spec} ended the session while {doing}: it {stored.group(1)}")
        if "RPCSessionTimeoutError" in message or "its time limit" in said:
            limit = re.search(r"session ended after ([\d.e+]+ s)", both)
            after = f" after {limit.group(1)}" if limit else ""
            return DeviceError(f"{self.spec} ended the session{after}, its time limit, while {doing}")
        if _LOST.search(message):
            return LostError(f"{self.spec} is gone: the link was lost while {doing}")
        lines = [line.strip() for line in message.splitlines() if line.strip()]
        lines = [line for line in lines if not line.startswith(("RPCError:", "Traceback", "File "))]
        return DeviceError(f"{self.spec} failed while {doing}: {lines[0] if lines else message}")


@dataclass(frozen=True)
class RpcProgram:
    """A Relax executable loaded on a board."""

    link: Link
    machine: Any
    device: Any

    def run(self, *inputs: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        """See `targets.device.Program`."""
        with self.link.explained("running the network"):
            self._put(inputs)
            self.machine.invoke_stateful("main")
            return tuple(output.numpy() for output in _flat(self.machine.get_outputs("main")))

    def take(self, *inputs: NDArray[Any]) -> None:
        """See `targets.device.Program`."""
        with self.link.explained("giving the network its inputs"):
            self._put(inputs)

    def time(self, inferences: int) -> tuple[float, ...]:
        """See `targets.device.Program`.

        TVM's time evaluator reads the board's clock around each call of the VM, on the board.
        """
        with self.link.explained("timing the network"):
            evaluate = self.machine.time_evaluator(
                "invoke_stateful", self.device, number=1, repeat=inferences, f_preproc=SAMPLE
            )
            return tuple(evaluate("main").results)

    def _put(self, inputs: Sequence[NDArray[Any]]) -> None:
        tensors = [tvm.runtime.tensor(np.ascontiguousarray(array), self.device) for array in inputs]
        self.machine.set_input("main", *tensors)


@dataclass(frozen=True)
class RpcDevice:
    """A board with our agent on it; see `targets.device.Device`."""

    link: Link
    description: str
    features: frozenset[str]
    core: Core | None
    session_timeout: float
    _numbers: Iterator[int]

    @property
    def spec(self) -> str:
        """How the user named it."""
        return self.link.spec

    def load(self, library: Path) -> RpcProgram:
        """See `targets.device.Device`."""
        with self.link.explained(f"loading {library.name}"):
            module, device = self.load_module(library), self.link.session.cpu(0)
            return RpcProgram(self.link, VirtualMachine(module, device), device)

    def load_c_library(self, library: Path) -> RpcCLibrary:
        """See `targets.device.Device`."""
        with self.link.explained(f"loading {library.name}"):
            return load_c_library(self.link, self._send(library), library.stem.removeprefix("lib"))

    def load_module(self, library: Path) -> Any:
        """The library's module, as TVM has it; what is wrong is for the caller to explain."""
        return self.link.session.load_module(self._send(library))

    def _send(self, library: Path) -> str:
        """The file's name on the board, where each has its own."""
        name = f"library-{next(self._numbers)}.so"
        self.link.session.upload(str(library), target=name)
        return name

    def info(self) -> Mapping[str, Any]:
        """What the agent says of itself and its CPU (targets/agent/src/info.c). Raises DeviceError."""
        with self.link.explained("asking what it is"):
            found: Mapping[str, Any] = json.loads(_ask(self.link, DEVICE_INFO))
            return found

    def round_trip(self) -> None:
        """Go there and back, for nothing. Raises DeviceError."""
        with self.link.explained("answering"):
            self.link.session.get_function(SAMPLE)()

    def state(self) -> BoardState:
        """See `targets.device.Device`."""
        with self.link.explained("asking for its state"):
            return parse_state(_ask(self.link, STATE))

    def pin(self, pin: Pin) -> None:
        """See `targets.device.Device`."""
        wanted = pin.cpus_of(self.state(), self.spec)
        doing = f"keeping it on cpu {cpu_list(wanted)}"
        with self.link.explained(doing):
            _function(self.link, PIN)(*sorted(wanted))
        mask = self.state().mask
        if mask and mask != wanted:
            raise DeviceError(
                f"{self.spec} failed while {doing}: it may use cpu {cpu_list(mask)} only. "
                "Choose among these, or start the agent where more are allowed (taskset, cpuset)."
            )

    def set_governor(self, governor: str) -> None:
        """See `targets.device.Device`."""
        with self.link.explained(f"setting the governor {governor}"):
            _function(self.link, GOVERNOR)(governor)


@contextmanager
def connect_board(board: EmulatedBoard, session_timeout: float = 0.0) -> Iterator[RpcDevice]:
    """The device behind an emulated board that runs. DeviceError when it does not answer."""
    spec = f"emulated:{board.core.name}"
    session = _connect(spec, Place(board.host, board.port), session_timeout)
    with _opened(Link(spec, session, board.last_words), session_timeout) as (link, info):
        features = frozenset(info["features"]) & board.core.features
        description = f"emulated {board.core.name} (qemu-user, {board.model})"
        yield RpcDevice(link, description, features, board.core, session_timeout, itertools.count())


@contextmanager
def connect_place(
    spec: str, place: Place, session_timeout: float = 0.0, last_words: Callable[[], str] | None = None
) -> Iterator[RpcDevice]:
    """The board at `place`. DeviceError when it is not reachable, busy, or not our agent."""
    session = _connect(spec, place, session_timeout)
    with _opened(Link(spec, session, last_words), session_timeout) as (link, info):
        yield _board_device(link, info, session_timeout)


@contextmanager
def connect_through_tracker(tracker: Tracker, session_timeout: float = 0.0) -> Iterator[RpcDevice]:
    """A free board from a tracker. DeviceError when there is none, or no tracker."""
    tracker.count()
    with connect_place(tracker.spec, tracker.request(), session_timeout) as device:
        yield device


@contextmanager
def _opened(link: Link, session_timeout: float) -> Iterator[tuple[Link, dict[str, Any]]]:
    try:
        with link.explained("asking what it is"):
            info = json.loads(_ask(link, DEVICE_INFO))
        log.info("%s: %s (session limit %g s)", link.spec, info, session_timeout)
        yield link, info
    finally:
        with suppress(Exception):  # the session may be dead already
            link.session.get_function("CloseRPCConnection")()


def _ask(link: Link, function: str) -> str:
    """The text that a function of our agent returns."""
    return str(_function(link, function)())


def _function(link: Link, function: str) -> Any:
    """A function of our agent."""
    try:
        return link.session.get_function(function)
    except AttributeError as error:
        raise DeviceError(
            f"{link.spec} is a TVM RPC server, but not Armature's agent, or one too old to have {function}: "
            "start `run serve` of a bundle compiled with this version there"
        ) from error


def _board_device(link: Link, info: dict[str, Any], session_timeout: float) -> RpcDevice:
    description = f"{info['arch']} board with {info['cpus']} CPUs"
    features = frozenset(info["features"])
    return RpcDevice(link, description, features, None, session_timeout, itertools.count())


def _connect(spec: str, place: Place, session_timeout: float) -> Any:
    """TVM's session with the agent at `place`, once it is our turn there."""
    remedy = "is the agent (`run serve`) running there, and listening on that address?"
    return open_session(spec, greet(spec, place, remedy, CONNECT_SECONDS, session_timeout))


def _flat(outputs: Any) -> Iterator[Any]:
    """Tensors of an output that may be a nested tuple."""
    if isinstance(outputs, tuple | list):
        for output in outputs:
            yield from _flat(output)
    else:
        yield outputs
