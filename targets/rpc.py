"""A board over TVM RPC: connecting without waiting for ever, and errors that say what happened.

The board runs our agent (`targets/agent`), which says what its CPU can do and why a session ended.
"""

from __future__ import annotations

import itertools
import json
import logging
import re
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tvm
from numpy.typing import NDArray
from tvm import rpc
from tvm.rpc import base
from tvm.runtime.vm import VirtualMachine

from targets.board_state import BoardState, parse_state
from targets.cores import Core
from targets.errors import DeviceError

if TYPE_CHECKING:
    from targets.emulated.board import EmulatedBoard

REACH_SECONDS = 5.0  # for a TCP connection
CONNECT_SECONDS = 30.0  # for the handshake: longer means that another client holds the board
REQUEST_SECONDS = 60.0  # for a tracker to find a free board

# What our agent registers (targets/agent/src/session.c).
DEVICE_INFO = "armature.device_info"
STATE = "armature.board.state"
SAMPLE = "armature.board.sample"

# How TVM's client words a dead socket; `code=1` is its own "shut down", met where an answer was due.
_LOST = re.compile(r"socket|connection|channel|broken pipe|RPCCode::kReturn\b.*code=1\b", re.IGNORECASE)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Link:
    """A session with a board, and how to explain its failures.

    Attributes:
        spec: the device as the user names it.
        session: TVM's session.
        board: the emulated board behind it, whose last words help.
    """

    spec: str
    session: Any
    board: EmulatedBoard | None = None

    @contextmanager
    def explained(self, doing: str) -> Iterator[None]:
        """Turns what TVM raises while `doing` into a DeviceError that names the device and the cause."""
        try:
            yield
        except (RuntimeError, OSError, ValueError, TypeError, AttributeError, KeyError) as error:
            log.debug("%s: %s failed", self.spec, doing, exc_info=True)
            raise DeviceError(self._explain(doing, str(error))) from error

    def _explain(self, doing: str, message: str) -> str:
        said = self.board.last_words() if self.board else ""
        crash = re.search(r"session crashed: signal \d+ \((\w+)\)", f"{message}\n{said}")
        if crash:
            told = f" ({said})" if said else ""
            return f"the library crashed on {self.spec}: {crash.group(1)} while {doing}{told}"
        if "RPCSessionTimeoutError" in message or "its time limit" in said:
            limit = re.search(r"session ended after ([\d.e+]+ s)", f"{message}\n{said}")
            after = f" after {limit.group(1)}" if limit else ""
            return f"{self.spec} ended the session{after}, its time limit, while {doing}"
        if _LOST.search(message):
            return f"{self.spec} is gone: the link was lost while {doing}"
        lines = [line.strip() for line in message.splitlines() if line.strip()]
        lines = [line for line in lines if not line.startswith(("RPCError:", "Traceback", "File "))]
        return f"{self.spec} failed while {doing}: {lines[0] if lines else message}"


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
        name = f"library-{next(self._numbers)}.so"
        with self.link.explained(f"loading {library.name}"):
            self.link.session.upload(str(library), target=name)
            module = self.link.session.load_module(name)
            device = self.link.session.cpu(0)
            return RpcProgram(self.link, VirtualMachine(module, device), device)

    def state(self) -> BoardState:
        """See `targets.device.Device`."""
        with self.link.explained("asking for its state"):
            return parse_state(_ask(self.link, STATE))


@contextmanager
def connect_board(board: EmulatedBoard, session_timeout: float = 0.0) -> Iterator[RpcDevice]:
    """The device behind an emulated board that runs. DeviceError when it does not answer."""
    spec = f"emulated:{board.core.name}"
    session = _connect(spec, board.host, board.port, "", session_timeout)
    with _opened(Link(spec, session, board), session_timeout) as (link, info):
        features = frozenset(info["features"]) & board.core.features
        description = f"emulated {board.core.name} (qemu-user, {board.model})"
        yield RpcDevice(link, description, features, board.core, session_timeout, itertools.count())


@contextmanager
def connect_direct(host: str, port: int, session_timeout: float = 0.0) -> Iterator[RpcDevice]:
    """A board at an address. DeviceError when it is not reachable, busy, or not our agent."""
    spec = f"rpc://{_place(host, port)}"
    _reach(spec, host, port, "is the agent (`run serve`) running there, and listening on that address?")
    session = _connect(spec, host, port, "", session_timeout)
    with _opened(Link(spec, session), session_timeout) as (link, info):
        yield _board_device(link, info, session_timeout)


@contextmanager
def connect_through_tracker(
    host: str, port: int, key: str, session_timeout: float = 0.0
) -> Iterator[RpcDevice]:
    """A free board of kind `key` from a tracker. DeviceError when there is none, or no tracker."""
    spec = f"tracker://{_place(host, port)}/{key}"
    board_host, board_port, match_key = _request(spec, host, port, key)
    _reach(spec, board_host, board_port, "the tracker's board cannot be reached from here")
    session = _connect(spec, board_host, board_port, match_key, session_timeout)
    with _opened(Link(spec, session), session_timeout) as (link, info):
        yield _board_device(link, info, session_timeout)


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
    try:
        return str(link.session.get_function(function)())
    except AttributeError as error:
        raise DeviceError(
            f"{link.spec} is a TVM RPC server, but not Armature's agent, or one too old to have {function}: "
            "start `run serve` of a bundle compiled with this version there"
        ) from error


def _board_device(link: Link, info: dict[str, Any], session_timeout: float) -> RpcDevice:
    description = f"{info['arch']} board with {info['cpus']} CPUs"
    features = frozenset(info["features"])
    return RpcDevice(link, description, features, None, session_timeout, itertools.count())


def _place(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _reach(spec: str, host: str, port: int, remedy: str) -> None:
    """Fails quickly where TVM would wait for minutes."""
    try:
        socket.create_connection((host, port), REACH_SECONDS).close()
    except OSError as error:
        raise DeviceError(f"{spec} is not reachable ({error}): {remedy}") from error


def _connect(spec: str, host: str, port: int, key: str, session_timeout: float) -> Any:
    """TVM's session with a server; its handshake knows no time-out, so it happens in a thread."""
    outcome: list[Any] = []

    def connect() -> None:
        try:
            outcome.append(rpc.connect(host, port, key, session_timeout))
        except Exception as error:
            outcome.append(error)

    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(CONNECT_SECONDS)
    if not outcome:
        raise DeviceError(f"{spec} did not answer in {CONNECT_SECONDS:.0f} s: another client may hold it")
    if isinstance(outcome[0], Exception):
        lines = str(outcome[0]).strip().splitlines() or [repr(outcome[0])]
        raise DeviceError(f"{spec} is not a TVM RPC server we can use: {lines[0]}") from outcome[0]
    return outcome[0]


def _request(spec: str, host: str, port: int, key: str) -> tuple[str, int, str]:
    """Address and match key of a free board, from the tracker."""
    try:
        with socket.create_connection((host, port), REACH_SECONDS) as tracker:
            tracker.sendall(base.RPC_TRACKER_MAGIC.to_bytes(4, "little"))
            if int.from_bytes(base.recvall(tracker, 4), "little") != base.RPC_TRACKER_MAGIC:
                raise DeviceError(f"{spec}: no TVM RPC tracker answers there")
            _require_key(spec, tracker, key)
            tracker.settimeout(REQUEST_SECONDS)
            base.sendjson(tracker, [base.TrackerCode.REQUEST, key, "", 1])
            _, (board_host, board_port, match_key) = base.recvjson(tracker)
            return board_host, board_port, match_key
    except TimeoutError as error:
        raise DeviceError(f"{spec}: no board of that key was free in time; try again later") from error
    except (OSError, ValueError) as error:
        raise DeviceError(
            f"{spec}: the tracker is not reachable ({error}): "
            "is `python -m tvm.exec.rpc_tracker` running there?"
        ) from error


def _require_key(spec: str, tracker: socket.socket, key: str) -> None:
    base.sendjson(tracker, [base.TrackerCode.SUMMARY])
    _, summary = base.recvjson(tracker)
    keys = sorted({server["key"].removeprefix("server:") for server in summary["server_info"]})
    if key not in keys:
        raise DeviceError(
            f"{spec}: no board of key {key!r} is registered; there are: {', '.join(keys) or 'none'}"
        )


def _flat(outputs: Any) -> Iterator[Any]:
    """Tensors of an output that may be a nested tuple."""
    if isinstance(outputs, tuple | list):
        for output in outputs:
            yield from _flat(output)
    else:
        yield outputs
