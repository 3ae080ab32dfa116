"""Every registered network beside MobileNetV2 1.0-224, as CSV: estimated cycles for each multiply-add.

    python -m bench.networks [--cores a53,a76] [--output docs/networks.csv]

Compiled as `compile` does it, with the shipped logs, and counted on the emulated board; cycles are estimated
(docs/timing.md), one thread, float32. A figure is written as soon as it is known, and what the file has
stays: remove it to count anew. Those of ResNet-101 take minutes each, those of DeepLab on it an hour.
"""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from bench.options import cores_and_output
from compile.bench import count
from compile.bench_report import BenchReport
from compile.lower import lower
from compile.models import build_model, find_model, model_cost
from compile.pipeline import compile_model
from compile.source import Source
from compile.tuning.lookup import TunedScheduler, shipped_logs
from targets.cores import Core


@dataclass(frozen=True)
class Network:
    """A registered network, and the arguments of a variant."""

    name: str
    args: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return " ".join([self.name, *(f"{name}={value}" for name, value in self.args.items())])

    @property
    def multiply_adds(self) -> int:
        """Of one inference, at the usual size."""
        entry = find_model(self.name)
        return model_cost(build_model(entry, self.args), entry.input_shape).multiply_adds

    def report(self, core: Core) -> BenchReport:
        """One inference on `core`, with calibrated random weights."""
        source = Source(self.name, self.args, "random:0", {"image": find_model(self.name).input_shape})
        lowering = partial(lower, scheduler=TunedScheduler(core, (shipped_logs(),)))
        with tempfile.TemporaryDirectory() as folder:
            return count(compile_model(source, core, Path(folder) / "bundle", nullcontext, lowering))


NETWORKS = (
    Network("mobilenet_v2"),
    Network("mobilenet_v2", {"width": "1.4"}),
    Network("mobilenet_v2", {"width": "0.5"}),
    Network("mobilenet_v2", {"linear": "false"}),
    Network("mobilenet_v2", {"shortcut": "expansions"}),
    Network("mobilenet_v2", {"shortcut": "none"}),
    Network("mobilenet_v1"),
    Network("shufflenet"),
    Network("shufflenet", {"width": "1.5"}),
    Network("shufflenet", {"width": "2.0"}),
    Network("nasnet_mobile"),
    Network("ssdlite_mobilenet_v1"),
    Network("ssdlite_mobilenet_v2"),
    Network("ssd_mobilenet_v2"),
    Network("deeplabv3_mobilenet_v2"),
    Network("deeplabv3_mobilenet_v2", {"aspp": "true"}),
    Network("deeplabv3_mobilenet_v1"),
    Network("resnet101"),
    Network("deeplabv3_resnet101"),
)
"""The first is what the others are held against."""


HEADS = ("M cycles", "cycles per multiply-add", "of MobileNetV2's", "% beside convolutions")
"""What follows a core's name in the columns."""

Rows = dict[str, dict[str, str]]
"""The cells of each network by column."""


def read(output: Path) -> Rows:
    """What the file has already."""
    if not output.exists():
        return {}
    with output.open(encoding="utf-8") as file:
        return {
            row["network"]: {name: cell for name, cell in row.items() if cell} for row in csv.DictReader(file)
        }


def write(rows: Rows, cores: Sequence[Core], output: Path) -> None:
    """Write the file, in the order of NETWORKS; what is not known is empty."""
    columns = ["network", "multiply-adds", *(f"{core.name} {head}" for core in cores for head in HEADS)]
    known = dict.fromkeys([*columns, *(column for row in rows.values() for column in row)])
    with output.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(known), restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows[str(network)] for network in NETWORKS if str(network) in rows)


def cells(network: Network, core: Core, usual: str | None) -> dict[str, str]:
    """A network's figures on a core; MobileNetV2 takes `usual` cycles per multiply-add (None: it is that)."""
    report = network.report(core)
    each = report.total.cycles / network.multiply_adds
    beside = sum(row.cycles for row in report.kernels if not row.multiply_adds) / report.total.cycles
    ratio = each / float(usual) if usual else 1.0
    figures = (f"{report.total.cycles / 1e6:.1f}", f"{each:.4f}", f"{ratio:.3f}", f"{100 * beside:.1f}")
    return {f"{core.name} {head}": figure for head, figure in zip(HEADS, figures, strict=True)}


def main() -> None:
    """Fill in what the table lacks."""
    cores, output = cores_and_output(__doc__, "docs/networks.csv", "a53,a76")
    rows = read(output)
    for network in NETWORKS:
        row = rows.setdefault(str(network), {"network": str(network)})
        row["multiply-adds"] = str(network.multiply_adds)
        for core in cores:
            column = f"{core.name} {HEADS[1]}"
            if column in row:
                continue
            usual = rows[str(NETWORKS[0])].get(column)
            row.update(cells(network, core, usual))
            write(rows, cores, output)


if __name__ == "__main__":
    main()
