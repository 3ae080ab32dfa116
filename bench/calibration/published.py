"""Published single-thread float32 latencies of MobileNetV2 1.0-224, which estimates are held against."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """One latency on silicon."""

    engine: str
    device: str
    core: str
    """What it is priced as, of targets.cores."""
    ghz: float
    milliseconds: float
    told: str
    """The core whose kernels the engine is made to take."""
    board: str | None = None
    """Of targets.boards, where the device is one: its second-level cache is modelled."""
    arm: bool = True
    """Whether the silicon is the core it is priced as; else its row says nothing of that core's error."""


# ncnn: benchmark/README.md of Tencent/ncnn; XNNPACK: README.md of google/XNNPACK; both as gathered in the
# project's REFERENCE, section 2. Where only a device's clock is known, its core's usual caches serve.
PUBLISHED: tuple[Published, ...] = (
    Published("ncnn", "Raspberry Pi 4", "cortex-a72", 1.8, 93.0, "cortex-a72", "rpi4"),
    Published("ncnn", "RK3399", "cortex-a72", 1.8, 78.2, "cortex-a72", "rk3399"),
    Published("ncnn", "A53 at 1.4 GHz", "cortex-a53", 1.4, 158.7, "cortex-a53"),
    Published("ncnn", "A53 at 1.5 GHz", "cortex-a53", 1.5, 143.0, "cortex-a53"),
    Published("ncnn", "A53 at 2.0 GHz", "cortex-a53", 2.0, 99.9, "cortex-a53"),
    Published("ncnn", "A57 at 2.0 GHz", "cortex-a57", 2.0, 77.9, "cortex-a72"),
    Published("ncnn", "A73 at 2.4 GHz", "cortex-a73", 2.4, 70.5, "cortex-a72"),
    Published("litert", "Pixel 1 (Kryo)", "cortex-a72", 2.15, 49.0, "cortex-a72", "pixel1", arm=False),
)
