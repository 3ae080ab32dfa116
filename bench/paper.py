"""The tables of MobileNetV2's paper, with what our compiled networks take beside them.

    python -m bench.paper [--boards rpi3b+,odroid-c4,rpi4,rpi5] [--limit 6e9]
    python -m bench.paper --plot         # bench/paper.svg, from the CSV (needs matplotlib: extra `bench`)

Writes bench/paper.csv, and from it the tables of bench/paper.md; figures of boards that are not named stay as
they are, so that boards can be run one at a time. Parameters and multiply-adds are counted; milliseconds are
estimated on the emulated board at each board's clock (docs/timing.md), one thread, float32, with the shipped
logs; memory is the arena that a library allocates. Networks of more multiply-adds than --limit are counted
only, not run.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from compile.bench import count
from compile.bench_report import BenchReport
from compile.frontend import trace
from compile.lower import fuse, lower
from compile.models import build_model, find_model, model_cost
from compile.pipeline import compile_model
from compile.source import Source
from compile.tuning.lookup import TunedScheduler, shipped_logs
from targets.boards import Board, big_core, find_board
from targets.cores import find_core

FOLDER = Path(__file__).parent
ROWS, TABLES, PLOT = FOLDER / "paper.csv", FOLDER / "paper.md", FOLDER / "paper.svg"
MILLION, MIB = 1e6, 2**20
TIME, MEMORY_OF = " estimated ms", " activations MiB"
"""What follows a board's name in the columns of ROWS."""
RESOLUTIONS = (112, 56, 28, 14, 7)


@dataclass(frozen=True)
class Entry:
    """A row of the paper: what it calls the network, how we build it, and its figures as printed."""

    title: str
    model: str
    size: int
    args: Mapping[str, str] = field(default_factory=dict)
    paper: tuple[str, ...] = ()

    @property
    def source(self) -> Source:
        """What is compiled."""
        return Source(self.model, self.args, "random:0", {"image": (1, 3, self.size, self.size)})


TABLES_OF_PAPER: dict[str, tuple[tuple[str, ...], tuple[Entry, ...]]] = {
    "Table 4: ImageNet": (
        ("top-1", "params", "multiply-adds", "Pixel 1"),
        (
            Entry("MobileNetV1", "mobilenet_v1", 224, {}, ("70.6", "4.2M", "575M", "113 ms")),
            Entry("ShuffleNet (1.5)", "shufflenet", 224, {"width": "1.5"}, ("71.5", "3.4M", "292M", "-")),
            Entry("ShuffleNet (x2)", "shufflenet", 224, {"width": "2.0"}, ("73.7", "5.4M", "524M", "-")),
            Entry("NASNet-A", "nasnet_mobile", 224, {}, ("74.0", "5.3M", "564M", "183 ms")),
            Entry("MobileNetV2", "mobilenet_v2", 224, {}, ("72.0", "3.4M", "300M", "75 ms")),
            Entry(
                "MobileNetV2 (1.4)", "mobilenet_v2", 224, {"width": "1.4"}, ("74.7", "6.9M", "585M", "143 ms")
            ),
        ),
    ),
    "Table 6: COCO, 320 x 320": (
        ("mAP", "params", "multiply-adds", "Pixel 1"),
        (
            Entry("MNet V1 + SSDLite", "ssdlite_mobilenet_v1", 320, {}, ("22.2", "5.1M", "1.3B", "270 ms")),
            Entry("MNet V2 + SSDLite", "ssdlite_mobilenet_v2", 320, {}, ("22.1", "4.3M", "0.8B", "200 ms")),
        ),
    ),
    "Table 7: PASCAL VOC 2012, 513 x 513": (
        ("mIOU", "params", "multiply-adds"),
        (
            Entry("MNet V1, OS 16, ASPP", "deeplabv3_mobilenet_v1", 513, {}, ("75.29", "11.15M", "14.25B")),
            Entry(
                "MNet V2, OS 16, ASPP",
                "deeplabv3_mobilenet_v2",
                513,
                {"aspp": "true"},
                ("75.70", "4.52M", "5.8B"),
            ),
            Entry("MNet V2, OS 16", "deeplabv3_mobilenet_v2", 513, {}, ("75.32", "2.11M", "2.75B")),
            Entry("ResNet-101, OS 16, ASPP", "deeplabv3_resnet101", 513, {}, ("80.49", "58.16M", "81.0B")),
        ),
    ),
}
MEMORY = {
    "MobileNetV1": (Entry("", "mobilenet_v1", 224), "1600K"),
    "MobileNetV2": (Entry("", "mobilenet_v2", 224), "400K"),
    "ShuffleNet (2x, g=3)": (Entry("", "shufflenet", 224, {"width": "2.0"}), "600K"),
}
"""The networks of the paper's Table 3, with its largest figure."""


def estimated(source: Source, board: Board) -> BenchReport:
    """One inference on the board's big core."""
    core = big_core(board)
    lowering = partial(lower, scheduler=TunedScheduler(core, (shipped_logs(),)))
    with tempfile.TemporaryDirectory() as folder:
        bundle = compile_model(source, core, Path(folder) / "bundle", contextlib.nullcontext, lowering)
        return count(bundle, f"emulated:{board.name}")


def between_kernels(source: Source) -> dict[int, float]:
    """The largest tensor at each of RESOLUTIONS that a kernel hands to the next, in kB at 16 bits."""
    module = fuse(trace(source).relax(), find_core("cortex-a72"))
    largest = dict.fromkeys(RESOLUTIONS, 0.0)

    for block in module["main"].body.blocks:
        for binding in block.bindings:
            shape = [int(extent) for extent in getattr(binding.var.ty, "shape", None) or ()]
            if len(shape) == 4 and shape[1] == shape[2] and shape[1] in largest:
                size = 2 * math.prod(shape) / 1000
                largest[shape[1]] = max(largest[shape[1]], size)
    return largest


def count_all(boards: Sequence[Board], limit: float) -> None:
    """Fill the columns of `boards` in ROWS, network by network; those of other boards stay as they are."""
    kept = read_rows()
    for table, (_, entries) in TABLES_OF_PAPER.items():
        for entry in entries:
            found = kept.setdefault((table, entry.title), {})
            found.update(figures(entry, boards, limit))
            write_rows(kept)
            print(table, entry.title, flush=True)


def read_rows() -> dict[tuple[str, str], dict[str, str]]:
    """The columns of each network, by its table and title; none where ROWS was never written."""
    if not ROWS.exists():
        return {}
    with ROWS.open(encoding="utf-8") as file:
        return {(each.pop("table"), each.pop("network")): each for each in csv.DictReader(file)}


def write_rows(rows: Mapping[tuple[str, str], Mapping[str, str]]) -> None:
    """Write ROWS, the columns of a board after those of the boards before it."""
    columns = list(dict.fromkeys(column for cells in rows.values() for column in cells))
    with ROWS.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["table", "network", *columns], restval="", lineterminator="\n")
        writer.writeheader()
        for (table, network), cells in rows.items():
            writer.writerow({"table": table, "network": network, **cells})


def figures(entry: Entry, boards: Sequence[Board], limit: float) -> dict[str, str]:
    """Parameters, multiply-adds, and for each board milliseconds and MiB of activations."""
    cost = model_cost(build_model(find_model(entry.model), entry.args), (1, 3, entry.size, entry.size))
    found = {"params": str(cost.params), "multiply-adds": str(cost.multiply_adds)}
    for board in boards if cost.multiply_adds <= limit else ():
        report = estimated(entry.source, board)
        found[f"{board.name}{TIME}"] = f"{report.total_ms:.1f}"
        found[f"{board.name}{MEMORY_OF}"] = f"{report.peak_activation_bytes / MIB:.2f}"
    return found


def boards_of(rows: Mapping[tuple[str, str], Mapping[str, str]]) -> list[str]:
    """The boards that ROWS has figures of."""
    columns = dict.fromkeys(column for cells in rows.values() for column in cells)
    return [column.removesuffix(TIME) for column in columns if column.endswith(TIME)]


def write_tables() -> None:
    """Put the tables into TABLES, in the place of those that are there: from the first heading on."""
    found = read_rows()
    boards = boards_of(found)
    lines = []
    for table, (columns, entries) in TABLES_OF_PAPER.items():
        ours = ("params", "multiply-adds", *(f"{name} ms" for name in boards), "activations")
        lines += [f"## {table}", "", row("network", *(f"paper: {each}" for each in columns), *ours)]
        lines.append("|---" * (1 + len(columns) + len(ours)) + "|")
        for entry in entries:
            cells = found[table, entry.title]
            counted = (
                f"{int(cells['params']) / MILLION:.2f}M",
                f"{int(cells['multiply-adds']) / MILLION:.0f}M",
            )
            times = (cells.get(f"{name}{TIME}") or "-" for name in boards)
            sizes = [float(cells[f"{name}{MEMORY_OF}"] or 0) for name in boards]
            memory = f"{max(sizes):.2f} MiB" if any(sizes) else "-"
            lines.append(row(entry.title, *entry.paper, *counted, *times, memory))
        lines.append("")
    before = TABLES.read_text(encoding="utf-8").partition("\n## ")[0]
    TABLES.write_text("\n".join([before.rstrip(), "", *lines, *memory_table()]) + "\n", encoding="utf-8")


def memory_table() -> list[str]:
    """The paper's Table 3: what lies between kernels at each resolution."""
    lines = ["## Table 3: the largest tensor between kernels, kB at 16 bits", ""]
    lines += [row("network", *map(str, RESOLUTIONS), "most", "paper: most"), "|---" * 8 + "|"]
    for title, (entry, most) in MEMORY.items():
        sizes = between_kernels(entry.source)
        cells = [f"{size:.0f}" if size else "-" for size in sizes.values()]
        lines.append(row(title, *cells, f"{max(sizes.values()):.0f}", most))
    return lines


def row(*cells: str) -> str:
    """A line of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def plot() -> None:
    """Draw milliseconds against multiply-adds, a line of points for each board."""
    from matplotlib import pyplot

    rows = read_rows()
    figure, axes = pyplot.subplots(figsize=(7, 4.5))
    for name in boards_of(rows):
        points = sorted(
            (int(cells["multiply-adds"]) / MILLION, float(cells[f"{name}{TIME}"]))
            for cells in rows.values()
            if cells[f"{name}{TIME}"]
        )
        axes.plot(*zip(*points, strict=True), "o", label=name)
    axes.set(xscale="log", yscale="log", xlabel="million multiply-adds", ylabel="milliseconds (estimated)")
    axes.legend(title="board, one thread")
    axes.grid(alpha=0.3, which="both")
    figure.tight_layout()
    figure.savefig(PLOT, metadata={"Date": None})


def main() -> None:
    """Count and write, or draw what was written."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--boards", default="rpi3b+,odroid-c4,rpi4,rpi5")
    parser.add_argument("--limit", type=float, default=6e9)
    parser.add_argument("--plot", action="store_true")
    options = parser.parse_args()
    if options.plot:
        plot()
        return
    count_all([find_board(name) for name in options.boards.split(",")], options.limit)
    write_tables()


if __name__ == "__main__":
    main()
