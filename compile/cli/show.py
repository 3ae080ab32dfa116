"""Results as tables for people; the figures come ready from the stages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from textwrap import fill
from typing import TYPE_CHECKING, Any

from rich.table import Table

from targets.device import HOST, runs_on
from targets.emulated.spec import EMULATED

if TYPE_CHECKING:
    from compile.bundle import Bundle


Parts = Iterator[object]
"""What rich prints, part by part."""


def make_table(*columns: str, right: Sequence[str] = (), narrow: bool = False) -> Table:
    """A table without lines; the columns named in `right` hold numbers, `narrow` leaves one space between."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0 if narrow else 1), header_style="bold")
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", no_wrap=True)
    return table


def bundle(made: Bundle) -> Parts:
    """What was compiled: kernels by kind, sizes, and what to do next."""
    manifest = made.manifest
    table = make_table("kind", "kernels", "multiply-adds", "schedule", right=("kernels", "multiply-adds"))
    for kind, rows in _by_kind(manifest["kernels"]).items():
        origins = sorted({row["schedule"] for row in rows})
        work = sum(row["multiply_adds"] for row in rows) / 1e6
        table.add_row(kind, str(len(rows)), f"{work:.1f} M", ", ".join(origins))
    yield table
    chosen = Counter(str(row["schedule"]) for row in manifest["kernels"])
    yield f"schedules: {', '.join(f'{number} {origin}' for origin, number in sorted(chosen.items()))}"
    library = (made.c_library or made.library).stat().st_size / 2**20
    yield (
        f"{made.path}: {library:.1f} MiB library for {made.core}, "
        f"{manifest['multiply_adds'] / 1e6:.1f} M multiply-adds, "
        f"{manifest['weights']['bytes'] / 2**20:.1f} MiB of weights, "
        f"{manifest['peak_activation_bytes'] / 2**20:.1f} MiB of activations planned"
    )
    if made.c_library is not None:
        yield f"C library: {made.c_library} and its header (docs/c-library.md)"
    device = next((each for each in (EMULATED, HOST) if runs_on(each, made.platform)), None)
    if device is not None:
        yield f"next: armature validate {made.path} --device {device}"


def _by_kind(kernels: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    kinds: dict[str, list[Mapping[str, Any]]] = {}
    for kernel in kernels:
        kinds.setdefault(kernel["kind"], []).append(kernel)
    return kinds


def cores(rows: Sequence[Mapping[str, Any]]) -> Parts:
    """The table of cores."""
    numbers = ("FMA/cycle", "L1D", "L2")
    table = make_table("core", "isa", "issue", *numbers, "features", "like", right=numbers)
    for row in rows:
        table.add_row(
            row["name"],
            row["isa"],
            "in order" if row["in_order"] else "out of order",
            str(row["fma_per_cycle"]),
            f"{row['l1d_kib']} KiB, {row['l1d_ways']}-way",
            f"{row['l2_kib']} KiB, {row['l2_ways']}-way",
            " ".join(row["features"]),
            row["like"] or "",
        )
    yield table


def boards(rows: Sequence[Mapping[str, Any]]) -> Parts:
    """The table of boards: the biggest core, which --board compiles for, comes first."""
    table = make_table("board", "title", "soc", "cores", "memory", right=("memory",))
    for row in rows:
        clusters = (
            f"{cluster['count']} x {cluster['core']} {cluster['ghz']:g} GHz, L2 {cluster['l2_kib']} KiB"
            for cluster in row["clusters"]
        )
        memory = f"{row['memory_gbs']:.1f} GB/s, {row['memory_of']}"
        table.add_row(row["name"], row["title"], row["soc"], "; ".join(clusters), memory)
    yield table


ARGUMENTS_WIDTH = 70
"""A detector has many arguments: they go on in a line below."""


def models(rows: Sequence[Mapping[str, Any]]) -> Parts:
    """The table of networks."""
    numbers = ("params", "multiply-adds")
    table = make_table("model", "task", "input", *numbers, "arguments", "weights", "summary", right=numbers)
    for row in rows:
        table.add_row(
            row["name"],
            row["task"],
            row["input"],
            f"{row['params'] / 1e6:.2f} M",
            f"{row['multiply_adds'] / 1e6:.1f} M",
            fill(" ".join(f"{name}={value}" for name, value in row["arguments"].items()), ARGUMENTS_WIDTH),
            " ".join(row["weights"]),
            row["summary"],
        )
    yield table
