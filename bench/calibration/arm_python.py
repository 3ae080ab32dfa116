"""A Python for aarch64, with the engines' official wheels, in a folder that qemu-user takes as its root.

Debian's arm64 packages are unpacked, not installed: nothing outside of the folder changes.
"""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from targets.cache import cached, content_key
from targets.errors import UserError

VERSION = "3.11"  # Debian 12's
PACKAGES = (
    "libc6",
    "libgcc-s1",
    "libstdc++6",
    "libgomp1",
    "libbz2-1.0",
    "liblzma5",
    "zlib1g",
    "libssl3",
    "libexpat1",
    "libffi8",
    "libuuid1",
    "libcrypt1",
    f"libpython{VERSION}-minimal",
    f"libpython{VERSION}-stdlib",
    f"python{VERSION}-minimal",
)
WHEELS = ("ncnn==1.0.20261020", "ai-edge-litert==2.3.0", "MNN==3.6.1", "numpy==2.4.6")
PLATFORMS = (
    "manylinux_2_28_aarch64",
    "manylinux_2_27_aarch64",
    "manylinux_2_17_aarch64",
    "manylinux2014_aarch64",
)

PROGRAM = f"usr/bin/python{VERSION}"
SITE = "usr/lib/engines"


def arm_python() -> Path:
    """The root folder: PROGRAM lies in it, and the wheels' packages in SITE. Fetched once, then cached.

    Raises UserError when apt-get or pip does not deliver.
    """
    return cached("calibration", f"root-{content_key([*PACKAGES, *WHEELS])}", _unpack)


def _unpack(root: Path) -> None:
    downloads = root.with_name("downloads")
    downloads.mkdir()
    for package in _debian_packages(downloads):
        _run(["dpkg", "-x", str(package), str(root)], downloads)
    platforms = [option for name in PLATFORMS for option in ("--platform", name)]
    pip = [sys.executable, "-m", "pip", "download", "-qq", "--no-deps", "--only-binary", ":all:"]
    _run([*pip, *platforms, "--python-version", VERSION, *WHEELS], downloads)
    for wheel in sorted(downloads.glob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(root / SITE)


def _debian_packages(downloads: Path) -> Sequence[Path]:
    """Downloads from apt's usual sources, with lists and a state of their own: the system's stay."""
    lists = downloads / "lists"
    (lists / "partial").mkdir(parents=True)
    options = {
        "APT::Architecture": "arm64",
        "APT::Architectures": "arm64",
        "APT::Sandbox::User": "root",
        "Dir::State::Lists": str(lists),
        "Dir::State::status": "/dev/null",
        "Dir::Cache": str(downloads),
    }
    apt = ["apt-get", "-qq", *(part for name, value in options.items() for part in ("-o", f"{name}={value}"))]
    _run([*apt, "update"], downloads)
    _run([*apt, "download", *PACKAGES], downloads)
    return sorted(downloads.glob("*.deb"))


def _run(command: Sequence[str], folder: Path) -> None:
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise UserError(
            f"{command[0]} is missing: the calibration needs Debian's apt-get and dpkg"
        ) from error
    except subprocess.CalledProcessError as error:
        said = (error.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise UserError(f"{Path(command[0]).name} could not fetch the engines: {said}") from error


FEATURES = {
    "v8.0": "fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid",
    "v8.2": "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop "
    "asimddp",
}
"""Of Linux's /proc/cpuinfo, by architecture."""

PARTS = {
    "cortex-a53": (0xD03, "v8.0"),
    "cortex-a55": (0xD05, "v8.2"),
    "cortex-a72": (0xD08, "v8.0"),
    "cortex-a76": (0xD0B, "v8.2"),
}
"""Part number (MIDR_EL1, in each core's Technical Reference Manual) and features of those cores."""


def told(core: str) -> Path:
    """The same root, with a /proc and a /sys that say the machine is one `core` of PARTS."""
    root = arm_python()
    part, features = PARTS[core]
    text = (
        f"processor\t: 0\nBogoMIPS\t: 108.00\nFeatures\t: {FEATURES[features]}\nCPU implementer\t: 0x41\n"
        f"CPU architecture: 8\nCPU variant\t: 0x0\nCPU part\t: {part:#x}\nCPU revision\t: 3\n\n"
    )
    return cached("calibration", f"{core}-{content_key([root.name, text])}", partial(_link_root, root, text))


def _link_root(root: Path, cpuinfo: str, place: Path) -> None:
    place.mkdir()
    for entry in root.iterdir():
        (place / entry.name).symlink_to(entry)
    (place / "proc").mkdir()
    (place / "proc/cpuinfo").write_text(cpuinfo)
    cpus = place / "sys/devices/system/cpu"
    cpus.mkdir(parents=True)
    for name in ("possible", "present", "online", "kernel_max"):
        (cpus / name).write_text("0\n")
