"""The one interface to anything that runs a compiled library."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from numpy.typing import NDArray

from targets.board_state import BoardState
from targets.cores import Core
from targets.emulated.spec import EMULATED, find_emulated
from targets.errors import UserError
from targets.pin import Pin
from targets.platforms import LINUX_ARM, host_platform
from targets.user_boards import UserBoard, find_user_board

if TYPE_CHECKING:
    from targets.place import Place
    from targets.shell.board import ShellBoard
    from targets.shell.link import ShellLink
    from targets.tracker import Tracker

FORMS = (
    "emulated[:CORE|BOARD], ssh://USER@HOST[:PORT], adb://SERIAL, rpc://HOST:PORT, tracker://HOST:PORT/KEY, "
    "or a name in boards.toml"
)
"""Of what is a board, or emulates one."""
HOST = "host"


class Program(Protocol):
    """A compiled network, loaded on a device."""

    def run(self, *inputs: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        """The network's outputs, in order, for its inputs, in order.

        Raises:
            DeviceError: the library crashed, the time was up, or the link was lost.
        """

    def take(self, *inputs: NDArray[Any]) -> None:
        """Puts the inputs in place for `time`. Raises DeviceError as `run` does."""

    def time(self, inferences: int) -> tuple[float, ...]:
        """The seconds that each of so many inferences took, by the device's own clock, after one more.

        The inputs are those of `take`; moving them and the outputs is not in it. On an emulated board it
        is the emulator's time, which says nothing of silicon. Raises DeviceError as `run` does.
        """


class Device(Protocol):
    """Something that runs compiled libraries, while its context lasts."""

    @property
    def spec(self) -> str:
        """How the user named it, the core included."""

    @property
    def description(self) -> str:
        """What it is, in a few words, for people."""

    @property
    def features(self) -> frozenset[str]:
        """What its CPU can do, of `targets.cores.FEATURES`."""

    @property
    def core(self) -> Core | None:
        """The core design, where it is known."""

    @property
    def session_timeout(self) -> float:
        """The longest the device may be held, in seconds; 0: as long as wanted."""

    def load(self, library: Path) -> Program:
        """Takes a Relax executable in a shared library to the device and loads it.

        Raises:
            DeviceError: the library does not load there, or the link was lost.
        """

    def load_c_library(self, library: Path) -> Program:
        """The same for a plain C library, lib<name>.so, whose functions begin with that name.

        Raises:
            DeviceError: as `load`, or the library refuses the CPU.
        """

    def state(self) -> BoardState:
        """Clocks, heat, load and CPU mask now, and what was seen since the last time it was asked.

        Raises:
            DeviceError: the link was lost, or the agent there is too old to tell.
        """

    def pin(self, pin: Pin) -> None:
        """Keeps all that is loaded from now on, and its threads, on these CPUs.

        Raises:
            UserError: it has no such CPUs.
            DeviceError: it refuses them, the link was lost, or the agent there is too old.
        """

    def set_governor(self, governor: str) -> None:
        """Sets what governs the clock of the CPUs of the mask; the board restores it when the session ends.

        Raises:
            DeviceError: it may not, the link was lost, or the agent there is too old.
        """


def open_device(
    spec: str, bundle_core: Core | None = None, session_timeout: float = 0.0
) -> AbstractContextManager[Device]:
    """The device named by `spec`, connected while the context lasts.

    Args:
        spec: HOST, or one of FORMS.
        bundle_core: what `emulated` without a name emulates.
        session_timeout: the longest the device may be held, in seconds; 0: as long as wanted.

    Raises:
        UserError: `spec` is not understood, or something is missing on this machine.
        DeviceError: (on entering) the device cannot be reached or does not answer as it should.
    """
    mine = find_user_board(spec)
    address = mine.address if mine else spec
    for prefix, opener in _OPENERS.items():
        if address == prefix or address.startswith((prefix + ":", prefix + "/")):
            return opener(spec, bundle_core, session_timeout)
    raise UserError(f"unknown device {spec!r}: a device is one of {HOST}, {FORMS}")


def require_platform(spec: str, platform: str) -> None:
    """UserError unless the device `spec` can load what was compiled for `platform`, a name in
    `targets.platforms`, or where this machine is the device and no platform.
    """
    wanted = host_platform() if spec == HOST else LINUX_ARM
    if wanted.name != platform:
        other = f"--device {HOST}" if spec != HOST and runs_on(HOST, platform) else "another device"
        raise UserError(
            f"{spec} runs libraries for {wanted}, and this one is for {platform}: give {other}, "
            "or compile it for that (--target, --platform, --cpu)."
        )


def runs_on(spec: str, platform: str) -> bool:
    """Whether the device `spec` can load what was compiled for `platform`."""
    try:
        require_platform(spec, platform)
    except UserError:
        return False
    return True


def _emulated(spec: str, bundle_core: Core | None, seconds: float) -> AbstractContextManager[Device]:
    found = find_emulated(spec, bundle_core)
    assert found is not None
    return _open_emulated(found.core, seconds)


@contextmanager
def _open_emulated(core: Core, seconds: float) -> Iterator[Device]:
    from targets.emulated.board import EmulatedBoard
    from targets.rpc import connect_board

    with EmulatedBoard(core) as board, connect_board(board, seconds) as device:
        yield device


def find_boards(spec: str) -> Place | Tracker | ShellBoard | None:
    """Where the boards named by `spec` are; None where `spec` is another kind of device.

    Raises UserError when it is written wrongly.
    """
    mine = find_user_board(spec)
    name, spec = spec, mine.address if mine else spec
    scheme = spec.partition(":")[0].partition("/")[0]
    if scheme in _SHELLS:
        from targets.shell.board import ShellBoard

        return ShellBoard(_SHELLS[scheme](spec, mine, name))
    if scheme not in ("rpc", "tracker"):
        return None
    from targets.place import Place
    from targets.token import find_token
    from targets.tracker import Tracker

    host, port, rest = _address(spec)
    token = find_token(mine.token_file if mine else None)
    if scheme == "rpc":
        if rest:
            raise UserError(f"unknown device {spec!r}: a board over RPC is rpc://HOST:PORT")
        return Place(host, port, token=token)
    if not rest or "/" in rest:
        raise UserError(f"unknown device {spec!r}: a board of a tracker is tracker://HOST:PORT/KEY")
    return Tracker(Place(host, port), rest, token)


def find_tracker(spec: str) -> Tracker | None:
    """All boards of a tracker://HOST:PORT, without a key; None for another spec."""
    mine = find_user_board(spec)
    address = (mine.address if mine else spec).rstrip("/")
    if not address.startswith("tracker://") or address.count("/") != 2:
        return None
    from targets.place import Place
    from targets.token import find_token
    from targets.tracker import Tracker

    host, port, _ = _address(address)
    return Tracker(Place(host, port), "", find_token(mine.token_file if mine else None))


def _boards(spec: str, _core: Core | None, seconds: float) -> AbstractContextManager[Device]:
    from targets.place import Place
    from targets.rpc import connect_place, connect_through_tracker
    from targets.tracker import Tracker

    found = find_boards(spec)
    assert found is not None
    if isinstance(found, Tracker):
        return connect_through_tracker(found, seconds)
    assert isinstance(found, Place)
    return connect_place(f"rpc://{found}", found, seconds)


def _by_shell(spec: str, _core: Core | None, seconds: float) -> AbstractContextManager[Device]:
    from targets.shell.board import ShellBoard, connect_shell

    found = find_boards(spec)
    assert isinstance(found, ShellBoard)
    return connect_shell(found, seconds)


def _ssh(spec: str, mine: UserBoard | None, name: str) -> ShellLink:
    from targets.ssh.address import parse_address
    from targets.ssh.link import SshLink

    return SshLink(parse_address(spec, mine, name))


def _adb(spec: str, mine: UserBoard | None, name: str) -> ShellLink:
    from targets.adb.address import parse_address
    from targets.adb.link import AdbLink

    return AdbLink(parse_address(spec, mine, name))


def _host(spec: str, _core: Core | None, _seconds: float) -> AbstractContextManager[Device]:
    if spec != HOST:
        raise UserError(f"unknown device {spec!r}: this machine is {HOST}, and others are {FORMS}")
    from targets.host_device import open_host

    return open_host()


def _address(spec: str) -> tuple[str, int, str]:
    """Host, port, and what follows the slash, of SCHEME://HOST:PORT/REST."""
    scheme, slashes, rest = spec.partition("://")
    place, _, tail = rest.partition("/")
    host, _, port = place.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not slashes or not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise UserError(f"unknown device {spec!r}: {scheme} needs {scheme}://HOST:PORT; devices are {FORMS}")
    return host, int(port), tail


Opener = Callable[[str, Core | None, float], AbstractContextManager[Device]]
_SHELLS: dict[str, Callable[[str, UserBoard | None, str], ShellLink]] = {"ssh": _ssh, "adb": _adb}
_OPENERS: dict[str, Opener] = {
    EMULATED: _emulated,
    "rpc": _boards,
    "tracker": _boards,
    **dict.fromkeys(_SHELLS, _by_shell),
    HOST: _host,
}
