"""What the tables of several cores are asked for."""

from __future__ import annotations

import argparse
from pathlib import Path

from targets.cores import Core, find_core


def cores_and_output(
    description: str | None, output: str, cores: str = "a53,a55,a72,a76"
) -> tuple[list[Core], Path]:
    """The cores of the command line (--cores) and the file to write (--output)."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cores", default=cores)
    parser.add_argument("--output", type=Path, default=Path(output))
    options = parser.parse_args()
    return [find_core(name) for name in options.cores.split(",")], options.output
