"""The C library on this machine beside PyTorch and ONNX Runtime, on one thread: bench/host.md.

    python -m bench.host [--rounds 60] [--output bench/host.md]        # needs the extra `bench`

One process, and one run for all: in each round every engine takes its turn (the order turns, too), once to
warm up and then three times. A ratio is of medians of the same round, so that what else the machine does
touches both. Wall time, float32, random pixels.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import io
import logging
import os
import re
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

import armature
from compile.frontend import Traced, trace
from compile.lower import lower
from compile.pipeline import compile_model
from compile.source import Source
from targets.host import CPUINFO, host_core
from targets.platforms import host_platform

OURS, EAGER = "Armature", "PyTorch, eager"
TIMED = 3
Run = Callable[[], Any]

NETWORKS = {
    "MobileNetV2 1.0, 224x224, ImageNet weights": Source("mobilenet_v2", weights="imagenet"),
    "MobileNetV2 0.35, 96x96": Source(
        "mobilenet_v2", {"width": "0.35"}, "random:0", {"image": (1, 3, 96, 96)}
    ),
    "DeepLabV3 on MobileNetV2, output stride 16, 513x513": Source(
        "deeplabv3_mobilenet_v2", weights="random:0"
    ),
}

TITLE = "# The host library beside PyTorch and ONNX Runtime"
SAID = """\
**Measured** on this machine by `python -m bench.host`: {model}, {cpus} CPUs, compiled for {core};
{versions}. One thread, float32, batch 1, wall time. The load average was {before:.1f} before and
{after:.1f} after: what is above 1 is other work on the same CPUs. Medians of {rounds} rounds and their
quartiles; a ratio is taken within a round, and is above 1 where Armature is faster. PyTorch has the
network as it was exported, its batch norms not folded. Armature's schedules are defaults, nothing was
tuned; an x86-64 is where its C generator is proved, not what it is for.
"""


@dataclass(frozen=True)
class Times:
    """Milliseconds of one engine: the median of each round."""

    rounds: NDArray[np.float64]

    def quartiles(self, other: Times | None = None) -> tuple[float, float, float]:
        """The median and the quartiles; with `other`, of the ratio to that."""
        values = self.rounds if other is None else self.rounds / other.rounds
        low, middle, high = np.percentile(values, (25, 50, 75))
        return float(middle), float(low), float(high)


@contextlib.contextmanager
def engines(source: Source, given: NDArray[Any]) -> Iterator[dict[str, Run]]:
    """A call of every engine with `given`, by the engine's name."""
    traced = trace(source)
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "library"
        compile_model(
            source, host_core(), library, contextlib.nullcontext, lower, "c-library", host_platform()
        )
        module, tensor = traced.program.module(), torch.from_numpy(given)
        found: dict[str, Run] = {EAGER: partial(module, tensor)}
        found["PyTorch, torch.compile"] = partial(torch.compile(module), tensor)
        found["ONNX Runtime"] = _onnx_runtime(traced, given, Path(folder) / "network.onnx")
        with armature.load(library) as network, torch.inference_mode():
            yield {OURS: partial(network, given), **found}


def _onnx_runtime(traced: Traced, given: NDArray[Any], file: Path) -> Run:
    with contextlib.redirect_stdout(io.StringIO()):
        exported = torch.onnx.export(traced.program, dynamo=True)
    assert exported is not None
    exported.save(str(file))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    return partial(session.run, None, {session.get_inputs()[0].name: given})


def measure(runs: Mapping[str, Run], rounds: int) -> dict[str, Times]:
    """All engines' times, turn by turn."""
    names = list(runs)
    medians: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            runs[name]()
            medians[name].append(float(np.median([_milliseconds(runs[name]) for _ in range(TIMED)])))
    return {name: Times(np.array(found)) for name, found in medians.items()}


def _milliseconds(run: Run) -> float:
    began = time.perf_counter()
    run()
    return (time.perf_counter() - began) * 1e3


def _first(output: Any) -> NDArray[Any]:
    first = output[0] if isinstance(output, (tuple, list)) else output
    return np.asarray(first)


def table(title: str, source: Source, rounds: int) -> str:
    """A network's part of the page."""
    shape = trace(source).inputs[0].shape
    given = np.random.default_rng(0).standard_normal(shape, np.float32)
    with engines(source, given) as runs:
        expected = _first(runs[EAGER]())
        off = {name: _difference(_first(run()), expected) for name, run in runs.items()}
        times = measure(runs, rounds)
    lines = [
        f"## {title}\n",
        "| engine | ms | of Armature's time | off PyTorch's outputs |",
        "|---|---|---|---|",
    ]
    for name, found in times.items():
        ratio = "1" if name == OURS else _spelled(found.quartiles(times[OURS]))
        lines.append(f"| {name} | {_spelled(found.quartiles())} | {ratio} | {off[name]} |")
    return "\n".join(lines) + "\n"


def _difference(ours: NDArray[Any], theirs: NDArray[Any]) -> str:
    """Of the largest output; of classes, the share of pixels that differ."""
    if np.issubdtype(theirs.dtype, np.integer):
        return f"{100 * float((ours.reshape(theirs.shape) != theirs).mean()):.3f}% of pixels"
    return f"{np.abs(ours - theirs).max() / np.abs(theirs).max():.1e}"


def _spelled(quartiles: tuple[float, float, float]) -> str:
    middle, low, high = quartiles
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def page(rounds: int) -> str:
    """The whole of bench/host.md."""
    model = re.search(r"^model name\s*: (.*)$", CPUINFO.read_text(encoding="utf-8"), re.MULTILINE)
    before = os.getloadavg()[0]
    tables = [table(title, source, rounds) for title, source in NETWORKS.items()]
    after = os.getloadavg()[0]
    versions = ", ".join(
        f"{name} {importlib.metadata.version(name)}" for name in ("torch", "onnxruntime", "apache-tvm")
    )
    said = SAID.format(
        model=model[1] if model else "a CPU",
        cpus=os.cpu_count(),
        core=host_core().name,
        versions=versions,
        before=before,
        after=after,
        rounds=rounds,
    )
    return "\n".join([TITLE, "", textwrap.fill(said, 118), "", *tables])


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("host.md"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    options.output.write_text(page(options.rounds), encoding="utf-8")
    print(options.output)


if __name__ == "__main__":
    main()
