"""What an agent says without a session, how a board is drained, and the list of boards."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from targets.device import open_device
from targets.errors import DeviceError, LostError, UserError
from targets.farm import drain_boards, list_boards
from targets.place import Place, ask
from targets.rpc import connect_place
from targets.status import ask_status, parse_status
from tests.targets.sshd import SSHD, Sshd
from tests.targets.test_agent import Server, session, wait_until
from tests.targets.test_devices import bad_library
from tests.targets.test_lobby import in_line, place_of
from tests.targets.test_token import TOKEN, token_file
from tests.tuning.farm import farm, free_port

pytestmark = pytest.mark.emulator


@pytest.fixture
def serve(agent: Path, tmp_path: Path) -> Iterator[Callable[..., Server]]:
    with ExitStack() as stack:

        def start(*options: str) -> Server:
            server = Server(agent, tmp_path, *options)
            stack.callback(server.close)
            return server

        yield start


@pytest.fixture
def boards_toml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    monkeypatch.setenv("ARMATURE_CONFIG", str(tmp_path))
    return lambda text: (tmp_path / "boards.toml").write_text(text) and None


# -- asking


def test_status_is_told_whoever_has_the_board(serve: Callable[..., Server], tmp_path: Path) -> None:
    server = serve()
    place = place_of(server)
    free = ask_status("pi", place)
    assert (free.client, free.sessions, free.waiting, free.last_error) == ("", 0, 0, "")
    assert free.info["features"] == ["crc"]
    assert free.board.cpus
    with connect_place("rpc://pi:9", place):
        waits, told = in_line(server)
        assert told() == b"Q\x01"
        busy = ask_status("pi", place)
        assert busy.client.startswith("127.0.0.1:")
        assert (busy.sessions, busy.waiting) == (1, 1)
        waits.close()
    library = bad_library(tmp_path, "*(volatile int*)8 = 1;")
    with suppress(DeviceError), connect_place("rpc://pi:9", place) as device:
        device.load(library)
    wait_until(lambda: ask_status("pi", place).client == "", 5)
    assert ask_status("pi", place).last_error == "session crashed: signal 11 (SIGSEGV)"


def test_status_is_behind_the_token(serve: Callable[..., Server], tmp_path: Path) -> None:
    server = serve("--token-file", str(token_file(tmp_path)))
    with pytest.raises(DeviceError, match="wants the token"):
        ask("pi", place_of(server), "status")
    assert ask_status("pi", Place("127.0.0.1", server.port, token=TOKEN)).sessions == 0
    with pytest.raises(DeviceError, match="refused our token"):
        ask("pi", Place("127.0.0.1", server.port, token=TOKEN[::-1]), "drain")
    assert not ask_status("pi", Place("127.0.0.1", server.port, token=TOKEN)).is_drained


def test_unknown_request_is_no_status(serve: Callable[..., Server]) -> None:
    server = serve()
    with pytest.raises(LostError, match="does not answer to 'dance'"):
        ask("pi", place_of(server), "dance")


def test_tvms_own_client_cannot_ask(serve: Callable[..., Server]) -> None:
    """A key that a client of TVM's may have must not be taken for a request."""
    server = serve()
    for key in ("status", "drain"):
        with suppress(Exception), session(server, key):
            pass
    assert not ask_status("pi", place_of(server)).is_drained


def test_answer_of_any_kind_is_read() -> None:
    assert parse_status("").sessions == 0
    assert parse_status("info [1]\nwaiting x\nbusy_seconds nan?\nnothing").info == {}


# -- draining


def test_drained_board_finishes_its_session_and_ends(
    serve: Callable[..., Server], tiny_library: Path, tiny_inputs: tuple[object, object]
) -> None:
    server = serve()
    spec = f"rpc://127.0.0.1:{server.port}"
    said: list[str] = []

    def wait_in_line() -> None:
        try:
            with connect_place(spec, place_of(server)):
                said.append("served")
        except DeviceError as error:
            said.append(str(error))

    with connect_place(spec, place_of(server)) as device:
        client = threading.Thread(target=wait_in_line)
        client.start()
        wait_until(lambda: ask_status(spec, place_of(server)).waiting == 1, 5)
        (seen,) = drain_boards(spec)
        assert seen.state == "draining"
        assert seen.doing.startswith("127.0.0.1:")
        client.join(10)
        wait_in_line()
        assert ["is being drained" in each for each in said] == [True, True]
        assert len(device.load(tiny_library).run(*tiny_inputs)) == 2
        assert server.process.poll() is None
    assert server.process.wait(10) == 0
    assert not server.work_dir.exists() or not list(server.work_dir.iterdir())
    with pytest.raises(LostError, match="not reachable"):
        drain_boards(spec)


def test_what_has_no_agent_of_its_own_is_not_drained() -> None:
    for spec in ("emulated", "ssh://pi@nowhere.invalid"):
        with pytest.raises(UserError, match="nothing to drain"):
            drain_boards(spec)


# -- the list


def test_list_of_boards_toml_and_a_tracker(boards_toml: Callable[[str], None]) -> None:
    dead = free_port()
    with farm(2) as made:
        boards_toml(
            f'[boards.lab]\naddress = "{made.spec}"\ncore = "cortex-a53"\n'
            f'[boards.gone]\naddress = "rpc://127.0.0.1:{dead}"\ncore = "cortex-a72"\n'
        )
        with open_device(made.spec):
            states = {seen.place: seen for seen in list_boards()}
        agents = [states[agent.place] for agent in made.agents]
        assert sorted(seen.state for seen in agents) == ["busy", "free"]
        assert {seen.core for seen in agents} == {"emulated"}
        assert len(states) == 3
        gone = states[f"127.0.0.1:{dead}"]
        assert (gone.name, gone.core, gone.state) == ("gone", "cortex-a72", "unreachable")
        assert "not reachable" in gone.last_error
        assert len(list_boards([f"tracker://127.0.0.1:{made.port}"])) == 2
        drained = drain_boards(made.spec)
        assert len(drained) == 2
        wait_until(lambda: list_boards([made.spec]) == [], 10)


def test_board_that_wants_another_token_is_listed(
    serve: Callable[..., Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve("--token-file", str(token_file(tmp_path)))
    monkeypatch.setenv("ARMATURE_TOKEN", TOKEN[::-1])
    (seen,) = list_boards([f"rpc://127.0.0.1:{server.port}"])
    assert seen.state == "refuses us"
    assert "refused our token" in seen.last_error


@pytest.mark.skipif(not SSHD.exists(), reason="sshd is missing (Debian: openssh-server)")
def test_board_over_ssh_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sshd = Sshd(tmp_path / "board")
    try:
        monkeypatch.setenv("ARMATURE_CONFIG", str(sshd.folder / "config"))
        (free,) = list_boards()
        assert (free.name, free.state, free.last_error) == ("pi", "free", "")
        assert free.board is not None
        assert free.board.cpus
        assert free.board.available_kib
        with open_device("pi"):
            (busy,) = list_boards(["pi"])
        assert busy.state == "busy"
    finally:
        sshd.stop()
    (gone,) = list_boards(["pi"])
    assert gone.state == "unreachable"


def test_what_is_no_board_is_not_listed() -> None:
    with pytest.raises(UserError, match="is no board"):
        list_boards(["emulated"])
