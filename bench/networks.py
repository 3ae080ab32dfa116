"""Every registered network beside MobileNetV2 1.0-224, as CSV: estimated cycles for each multiply-add.

    python -m bench.networks [--cores a53,a76] [--output docs/networks.csv]

Compiled as `compile` does it, with the shipped logs, and counted on the emulated board; cycles are estimated
(docs/timing.md), one thread, float32. A row is written as soon as it is known: those of ResNet-101 take
minutes each.
"""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Mapping
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


def main() -> None:
    """Write the table."""
    cores, output = cores_and_output(__doc__, "docs/networks.csv", "a53,a76")
    usual: dict[str, float] = {}
    heads = ("M cycles", "cycles per multiply-add", "of MobileNetV2's", "% beside convolutions")
    with output.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(
            ["network", "multiply-adds", *(f"{core.name} {head}" for core in cores for head in heads)]
        )
        for network in NETWORKS:
            multiply_adds = network.multiply_adds
            cells: list[str] = []
            for core in cores:
                report = network.report(core)
                cycles = report.total.cycles
                each = cycles / multiply_adds
                usual.setdefault(core.name, each)
                share = 100 * sum(row.cycles for row in report.kernels if not row.multiply_adds) / cycles
                cells += [
                    f"{cycles / 1e6:.1f}",
                    f"{each:.4f}",
                    f"{each / usual[core.name]:.3f}",
                    f"{share:.1f}",
                ]
            writer.writerow([str(network), multiply_adds, *cells])
            file.flush()


if __name__ == "__main__":
    main()
