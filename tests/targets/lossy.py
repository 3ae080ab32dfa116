"""A link between two tun devices that is slow and loses packets, for kernels without `tc netem`.

`python lossy.py NAME NAME SECONDS PART` makes both devices, says `ready`, and carries packets from each to
the other, SECONDS later, but for that PART of them. It needs root, or CAP_NET_ADMIN.
"""

from __future__ import annotations

import fcntl
import heapq
import os
import random
import select
import struct
import sys
import time

TUNSETIFF = 0x400454CA  # linux/if_tun.h
IFF_TUN_NO_PI = 0x1001
MOST_BYTES = 1 << 16


def open_tun(name: str) -> int:
    """A new device of that name."""
    tun = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH", name.encode(), IFF_TUN_NO_PI))
    return tun


def carry(first: int, second: int, seconds: float, part: float) -> None:
    """For ever."""
    other, draw = {first: second, second: first}, random.Random(0)
    due: list[tuple[float, int, int, bytes]] = []
    for number in range(1 << 62):
        wait = max(0.0, due[0][0] - time.monotonic()) if due else None
        for tun in select.select([first, second], [], [], wait)[0]:
            packet = os.read(tun, MOST_BYTES)
            if draw.random() >= part:
                heapq.heappush(due, (time.monotonic() + seconds, number, other[tun], packet))
        while due and due[0][0] <= time.monotonic():
            _, _, tun, packet = heapq.heappop(due)
            os.write(tun, packet)


if __name__ == "__main__":
    ends = open_tun(sys.argv[1]), open_tun(sys.argv[2])
    print("ready", flush=True)
    carry(*ends, float(sys.argv[3]), float(sys.argv[4]))
