"""MobileNetV2 tuned from no logs on the emulated board: the search curve of each core, and what came of it.

    python -m bench.tuning [--cores a53,a55,a72,a76] [--minutes 40] [--logs build/tuning] [--model MODEL]
    python -m bench.tuning --plot        # bench/tuning.svg, of all curves (needs matplotlib: extra `bench`)

A curve is bench/curves/CORE.csv: seconds since the search began, trials, and estimated million cycles of all
kernels with the best points so far. Records are left in --logs: those that come with Armature are made of
them (`armature logs merge`, `prune`).
"""

from __future__ import annotations

import argparse
import csv
import time
from dataclasses import dataclass, field
from pathlib import Path

from compile.frontend import trace
from compile.tuning.measurers import measurer_for
from compile.tuning.records import RECORDS, Log
from compile.tuning.spec import read_spec
from compile.tuning.task import tasks_of
from compile.tuning.tuner import Budget, Tuner
from compile.tuning.units import PER_SECOND
from targets.cores import find_core

CURVES = Path(__file__).parent / "curves"
PLOT = Path(__file__).parent / "tuning.svg"


@dataclass
class Curve:
    """A tune's total as it falls."""

    began: float = field(default_factory=time.monotonic)
    points: list[tuple[float, int, float]] = field(default_factory=list)
    """Seconds, trials, million cycles."""

    def __call__(self, tuner: Tuner) -> None:
        """Note the total where it fell."""
        total = tuner.total_seconds
        if total is not None and (not self.points or total * PER_SECOND < self.points[-1][2]):
            self.points.append((time.monotonic() - self.began, tuner.trials, total * PER_SECOND))

    def write(self, file: Path) -> None:
        """As CSV."""
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(["seconds", "trials", "estimated M cycles"])
            writer.writerows(
                [f"{seconds:.1f}", trials, f"{total:.4f}"] for seconds, trials, total in self.points
            )


def tune(core_name: str, model: str, minutes: float, logs: Path) -> None:
    """Search, write the curve, and say what came of it."""
    core = find_core(core_name)
    log = Log(logs / core.name, core)
    if (log.folder / RECORDS).exists():
        raise SystemExit(f"{log.folder} has records already: a curve starts from none")
    measurer = measurer_for(f"emulated:{core.name}", None, None)
    tasks = tasks_of({model: trace(read_spec(model)).relax()}, core)
    curve = Curve()
    tuner = Tuner(tasks, core, measurer, log, Budget(seconds=60 * minutes), curve)
    tuner.run()
    curve.points.append((time.monotonic() - curve.began, tuner.trials, curve.points[-1][2]))
    curve.write(CURVES / f"{core.name}.csv")
    default = tuner.default_total_seconds or 0.0
    seconds, trials, total = curve.points[-1]
    gain = 100 * (total / default / PER_SECOND - 1)
    print(
        f"{core.name}: {default * PER_SECOND:.2f} -> {total:.2f} M cycles ({gain:+.1f}%),"
        f" {trials} trials, {seconds / 60:.1f} min",
        flush=True,
    )


def plot() -> None:
    """Draw the curves: the total against the default's, by minutes."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4))
    for file in sorted(CURVES.glob("*.csv")):
        with file.open(encoding="utf-8") as stream:
            rows = [(float(row[0]) / 60, float(row[2])) for row in list(csv.reader(stream))[1:]]
        axes.step(
            [minutes for minutes, _ in rows],
            [100 * total / rows[0][1] for _, total in rows],
            where="post",
            label=f"{file.stem}: {rows[0][1]:.1f} -> {rows[-1][1]:.1f}",
        )
    axes.set_xlabel("minutes on two CPUs")
    axes.set_ylabel("estimated cycles of all kernels, % of the defaults'")
    axes.legend(title="million cycles")
    axes.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(PLOT, metadata={"Date": None})


def main() -> None:
    """Tune, or draw what was tuned."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cores", default="a53,a55,a72,a76")
    parser.add_argument("--model", default="mobilenet_v2")
    parser.add_argument("--minutes", type=float, default=40.0)
    parser.add_argument("--logs", type=Path, default=Path("build/tuning"))
    parser.add_argument("--plot", action="store_true")
    options = parser.parse_args()
    if options.plot:
        plot()
        return
    for name in options.cores.split(","):
        tune(name, options.model, options.minutes, options.logs)


if __name__ == "__main__":
    main()
