"""Eight emulated boards that four clients share, each client and each board a process."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from compile.tuning.board_process import LIBRARY, write_call
from compile.tuning.candidate import Inputs
from targets.emulated.kernel import Argument
from tests.tuning.farm import Farm, candidate, farm

pytestmark = [pytest.mark.emulator, pytest.mark.slow]

BOARDS, CLIENTS, JOBS, LANES = 8, 4, 500, 4
ALONE_JOBS = 8
# It sleeps: eight boards at a time would need eight CPUs for more.
BODY = (
    'extern int usleep(unsigned); char name[256]; sprintf(name, "{marks}/%d.%d", (int)x[0], getpid()); '
    "creat(name, 0600); usleep(300000); for (int i = 0; i < 8; i++) y[i] = 2 * x[i];"
)


class Client:
    """A client in a process; it starts when it is let go."""

    def __init__(self, made: Farm, folder: Path, lanes: int) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.tuning.farm_client", made.spec, str(folder), str(lanes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def go(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def done(self) -> dict[int, float]:
        """When each job was done, by its number; all have been."""
        output, _ = self.process.communicate(timeout=900)
        assert self.process.returncode == 0
        found = re.findall(r"^done (\S+) (\d+) (.*)$", output, re.MULTILINE)
        assert [failure for _, _, failure in found if failure] == []
        assert len({number for _, number, _ in found}) == len(found)
        return {int(number): float(seconds) for seconds, number, _ in found}


def queue(folder: Path, library: Path, numbers: range) -> Path:
    """A folder of jobs; each is told its number by its input."""
    for number in numbers:
        job = folder / str(number)
        job.mkdir(parents=True)
        os.link(library, job / LIBRARY)
        values = np.arange(number, number + 8, dtype=np.float32)
        arguments = [Argument("data", (8,), values=values), Argument("output", (8,))]
        write_call(job, arguments, Inputs(("data", "output"), (values,), 2 * values))
    return folder


def rate(done: dict[int, float]) -> float:
    """Jobs a second, from the first that was done to the last."""
    return (len(done) - 1) / (max(done.values()) - min(done.values()))


def test_four_clients_share_eight_boards(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    marks = tmp_path / "marks"
    marks.mkdir()
    library = candidate(tmp_path / "made", BODY.format(marks=marks)) / LIBRARY
    queues = [
        queue(tmp_path / f"client{number}", library, range(number, JOBS, CLIENTS))
        for number in range(CLIENTS)
    ]
    alone = queue(tmp_path / "alone", library, range(JOBS, JOBS + ALONE_JOBS))
    with farm(BOARDS) as made:
        single = Client(made, alone, 1)
        single.go()
        one_board = rate(single.done())
        clients = [Client(made, folder, LANES) for folder in queues]
        for client in clients:
            client.go()
        done = [client.done() for client in clients]
    times = {number: seconds for each in done for number, seconds in each.items()}
    assert sorted(times) == list(range(JOBS))
    called = Counter(int(path.stem) for path in marks.iterdir())
    assert called == Counter(range(JOBS + ALONE_JOBS))  # each in one session of one board
    ended = min(max(each.values()) for each in done)
    shares = [sum(seconds <= ended for seconds in each.values()) for each in done]
    gain = rate(times) / one_board
    with capsys.disabled():
        print(f"\n{gain:.2f} times one board's {one_board:.2f} jobs/s; done when the first ended: {shares}")
    assert min(shares) >= 0.8 * max(shares)
    assert gain >= 6
