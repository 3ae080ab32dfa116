"""Boards and phones as data: one row each, with its clusters of cores, their clocks and its memory.

A row says what a core of `targets.cores` is on that board. docs/boards.md explains the columns and how to add
a board.
"""

from __future__ import annotations

import dataclasses
import difflib

from targets.cores import Core, find_core
from targets.errors import UserError


@dataclasses.dataclass(frozen=True)
class Cluster:
    """Equal cores of a board, at one clock."""

    core: str  # a name of targets.cores
    count: int
    ghz: float  # the highest clock it is sold with
    l2_kib: int  # second-level cache: private, or shared by the cluster


@dataclasses.dataclass(frozen=True)
class Board:
    """A board or phone."""

    name: str
    title: str
    soc: str
    clusters: tuple[Cluster, ...]
    memory_gbs: float  # GB/s, read and written together
    memory_of: str  # CORE: measured on one big core; BOARD: what its memory could do at best
    source: str


CORE, BOARD = "core", "board"

# The sources. "x.dtsi" is Linux's device tree, arch/arm64/boot/dts (Amlogic's have caches in late versions
# only). "sbc-bench" is a row of ThomasKaiser/sbc-bench, Results.md or results/reviews, at this clock: its
# memcpy on one core, doubled, since a copied byte is read and written (Pi 4: 5.2 so, and 5.5 by STREAM Copy,
# sci-pi.org.uk/bench/stream.html). A board's figure is its memory's width times rate. "L2 usual": no
# source read, so that of targets/cores.py. "L2 unseen": as commonly stated, but no document was read for it.
#
# fmt: off
BOARDS: tuple[Board, ...] = (
    Board("rpi3b+", "Raspberry Pi 3 Model B+", "BCM2837B0", (Cluster("cortex-a53", 4, 1.4, 512),),
          2.2, CORE, "broadcom/bcm2837.dtsi; sbc-bench 1120 MB/s, 32-bit"),
    Board("rpizero2w", "Raspberry Pi Zero 2 W", "RP3A0 (BCM2710A1)", (Cluster("cortex-a53", 4, 1.0, 512),),
          2.6, CORE, "broadcom/bcm2837.dtsi; sbc-bench 1300 MB/s, 32-bit"),
    Board("rpi4", "Raspberry Pi 4 Model B", "BCM2711", (Cluster("cortex-a72", 4, 1.8, 1024),),
          5.2, CORE, "sbc-bench 2580 MB/s; L2 usual; early ones run at 1.5 GHz"),
    Board("rpi5", "Raspberry Pi 5", "BCM2712", (Cluster("cortex-a76", 4, 2.4, 512),),
          8.9, CORE, "broadcom/bcm2712.dtsi; sbc-bench 4448 MB/s"),

    Board("rk3399", "RK3399 boards: RockPro64, NanoPC-T4, Rock Pi 4", "RK3399",
          (Cluster("cortex-a72", 2, 1.8, 1024), Cluster("cortex-a53", 4, 1.4, 512)),
          7.4, CORE, "RK3399 Datasheet; sbc-bench 3720 MB/s (RockPro64)"),
    Board("rk3588", "RK3588 boards: Rock 5B, Orange Pi 5 Plus, NanoPC-T6", "RK3588",
          (Cluster("cortex-a76", 4, 2.4, 512), Cluster("cortex-a55", 4, 1.8, 128)),
          20.1, CORE, "rockchip/rk3588-base.dtsi; sbc-bench 10054 MB/s (Rock 5B)"),
    Board("orangepi5", "Orange Pi 5", "RK3588S",
          (Cluster("cortex-a76", 4, 2.4, 512), Cluster("cortex-a55", 4, 1.8, 128)),
          33.8, BOARD, "rockchip/rk3588-base.dtsi; 64-bit LPDDR4X-4224"),
    Board("odroid-n2+", "ODROID-N2+", "S922X",
          (Cluster("cortex-a73", 4, 2.4, 1024), Cluster("cortex-a53", 2, 2.0, 256)),
          8.6, CORE, "amlogic/meson-g12b.dtsi; sbc-bench 4300 MB/s"),
    Board("khadas-vim3", "Khadas VIM3", "A311D",
          (Cluster("cortex-a73", 4, 2.2, 1024), Cluster("cortex-a53", 2, 1.8, 256)),
          10.0, CORE, "amlogic/meson-g12b.dtsi; sbc-bench 4980 MB/s"),
    Board("odroid-c4", "ODROID-C4", "S905X3", (Cluster("cortex-a55", 4, 2.0, 256),),
          6.6, CORE, "amlogic/meson-sm1.dtsi; sbc-bench 3310 MB/s"),
    Board("jetson-nano", "NVIDIA Jetson Nano", "Tegra X1", (Cluster("cortex-a57", 4, 1.43, 2048),),
          7.4, CORE, "sbc-bench 3680 MB/s; L2 usual, as Tegra X1 is where targets/cores.py has it from"),
    Board("jetson-orin-nano", "NVIDIA Jetson Orin Nano", "Tegra234", (Cluster("cortex-a78ae", 6, 1.5, 256),),
          68.0, BOARD, "NVIDIA Jetson Orin Nano Data Sheet; 128-bit LPDDR5, before the Super mode"),
    Board("hikey960", "HiKey 960", "Kirin 960",
          (Cluster("cortex-a73", 4, 2.36, 2048), Cluster("cortex-a53", 4, 1.84, 512)),
          28.8, BOARD, "NanoReview, Kirin 960; 64-bit LPDDR4-3600; L2 usual"),
    Board("hikey970", "HiKey 970", "Kirin 970",
          (Cluster("cortex-a73", 4, 2.36, 2048), Cluster("cortex-a53", 4, 1.84, 512)),
          29.9, BOARD, "WikiChip, Kirin 970, with the clocks of the 960; 64-bit LPDDR4-3733; L2 usual"),

    # Kryo is Qualcomm's own and no Arm core; of those in the table, A72 comes nearest in age and width.
    Board("pixel1", "Google Pixel", "Snapdragon 821",
          (Cluster("cortex-a72", 2, 2.15, 1024), Cluster("cortex-a72", 2, 1.6, 512)),
          29.9, BOARD, "Wikipedia, Kryo, for L2; 64-bit LPDDR4-3733"),
    # The later Kryos are Arm's: 280 is A73 and A53, 360 is A75 and A55.
    Board("pixel2", "Google Pixel 2", "Snapdragon 835",
          (Cluster("cortex-a73", 4, 2.35, 2048), Cluster("cortex-a53", 4, 1.9, 1024)),
          29.9, BOARD, "Wikipedia, Kryo, for L2; 64-bit LPDDR4X-3733"),
    Board("pixel3a", "Google Pixel 3a", "Snapdragon 670",
          (Cluster("cortex-a75", 2, 2.0, 256), Cluster("cortex-a55", 6, 1.7, 128)),
          14.9, BOARD, "Android Central, Snapdragon 670; 32-bit LPDDR4X-3733; L2 usual"),
    Board("pixel6", "Google Pixel 6", "Tensor",
          (Cluster("cortex-x1", 2, 2.8, 1024), Cluster("cortex-a76", 2, 2.25, 256),
           Cluster("cortex-a55", 4, 1.8, 128)),
          51.2, BOARD, "XDA Developers, Google Tensor, for the clocks; 64-bit LPDDR5-6400; L2 unseen"),
)
# fmt: on

_BY_NAME = {board.name: board for board in BOARDS}


def find_board(name: str) -> Board:
    """The board called `name`, in any case."""
    wanted = name.strip().lower()
    board = _BY_NAME.get(wanted)
    if board is None:
        near = difflib.get_close_matches(wanted, _BY_NAME, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        raise UserError(f"unknown board {name!r}: {hint}`armature boards` lists them all")
    return board


def big_cluster(board: Board) -> Cluster:
    """The cluster whose cores have the highest peak: multiply-adds per cycle times clock."""
    return max(board.clusters, key=lambda cluster: find_core(cluster.core).fma_per_cycle * cluster.ghz)


def big_core(board: Board) -> Core:
    """The core of the fastest cluster, with the second-level cache that it has on this board."""
    cluster = big_cluster(board)
    return dataclasses.replace(find_core(cluster.core), l2_kib=cluster.l2_kib)


def board_rows() -> list[dict[str, object]]:
    """The table as JSON-ready rows, in its order."""
    return [
        dataclasses.asdict(board)
        | {
            "clusters": [dataclasses.asdict(cluster) for cluster in board.clusters],
            "big_core": big_cluster(board).core,
        }
        for board in BOARDS
    ]
