"""Instructions per inference of MobileNetV2 on the emulated board, core by core.

    python bench/instructions.py [--cores a53,a72] [--size 224]

Counts, not times: what they cost on silicon is another matter. TVM 0.27's own default takes 950 million.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
from pathlib import Path

from compile.bench import profile_bundle
from compile.pipeline import compile_model
from compile.source import Source
from targets.cores import find_core


def count(core_name: str, size: int) -> float:
    """Millions of instructions of one inference."""
    core = find_core(core_name)
    with tempfile.TemporaryDirectory() as folder:
        source = Source("mobilenet_v2", weights="random:0", inputs={"image": (1, 3, size, size)})
        bundle = compile_model(source, core, Path(folder) / "bundle", contextlib.nullcontext)
        return profile_bundle(bundle, core, []).instructions / 1e6


def main() -> None:
    """Print a line per core."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cores", default="a53,a55,a72,a76")
    parser.add_argument("--size", type=int, default=224)
    options = parser.parse_args()
    for name in options.cores.split(","):
        print(f"{find_core(name).name:<12} {count(name, options.size):8.1f} M instructions", flush=True)


if __name__ == "__main__":
    main()
