"""A client of a farm, as a process: measures the candidates in a folder, and tells when each is done.

`python -m tests.tuning.farm_client DEVICE FOLDER LANES` says `ready`, waits for a line, and then says `done
SECONDS CANDIDATE FAILURE` for each, by the clock that all processes share.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from compile.tuning.board_measurer import BoardMeasurer
from compile.tuning.limits import Limits
from compile.tuning.units import EMULATOR
from targets.device import find_boards
from tests.tuning.tunes import CORE


def main(spec: str, folder: Path, lanes: int) -> None:
    """Measure all that is in the folder."""
    boards = find_boards(spec)
    assert boards is not None
    print("ready", flush=True)
    sys.stdin.readline()
    with BoardMeasurer(spec, boards, CORE, EMULATOR, lanes, 1, Limits()) as measurer:
        waiting = {path.name: measurer.measure(path) for path in sorted(folder.iterdir())}
        while waiting:
            for name in [name for name, answer in waiting.items() if answer.done()]:
                print("done", time.monotonic(), name, waiting.pop(name).result().failure, flush=True)
            time.sleep(0.05)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
