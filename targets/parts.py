"""Which core design a CPU says it is: the implementer and part number of MIDR_EL1."""

from __future__ import annotations

ARM, QUALCOMM = 0x41, 0x51

# Linux, arch/arm64/include/asm/cputype.h; util-linux, sys-utils/lscpu-arm.c. Qualcomm's 0x80* are Arm's cores
# under its own numbers (Snapdragon 835: 2xx, 845: 3xx, 855: 4xx); its earlier Kryo is nobody else's. 0xC0D
# was Cortex-A12, which became A17.
# fmt: off
_NAMES = {
    (ARM, 0xC07): "cortex-a7",    (ARM, 0xC09): "cortex-a9",     (ARM, 0xC0D): "cortex-a17",
    (ARM, 0xC0E): "cortex-a17",   (ARM, 0xC0F): "cortex-a15",
    (ARM, 0xD02): "cortex-a34",   (ARM, 0xD03): "cortex-a53",    (ARM, 0xD04): "cortex-a35",
    (ARM, 0xD05): "cortex-a55",   (ARM, 0xD06): "cortex-a65",    (ARM, 0xD07): "cortex-a57",
    (ARM, 0xD08): "cortex-a72",   (ARM, 0xD09): "cortex-a73",    (ARM, 0xD0A): "cortex-a75",
    (ARM, 0xD0B): "cortex-a76",   (ARM, 0xD0C): "neoverse-n1",   (ARM, 0xD0D): "cortex-a77",
    (ARM, 0xD0E): "cortex-a76ae", (ARM, 0xD40): "neoverse-v1",   (ARM, 0xD41): "cortex-a78",
    (ARM, 0xD42): "cortex-a78ae", (ARM, 0xD43): "cortex-a65ae",  (ARM, 0xD44): "cortex-x1",
    (ARM, 0xD46): "cortex-a510",  (ARM, 0xD47): "cortex-a710",   (ARM, 0xD48): "cortex-x2",
    (ARM, 0xD49): "neoverse-n2",  (ARM, 0xD4B): "cortex-a78c",   (ARM, 0xD4C): "cortex-x1c",
    (ARM, 0xD4D): "cortex-a715",  (ARM, 0xD4E): "cortex-x3",     (ARM, 0xD4F): "neoverse-v2",
    (ARM, 0xD80): "cortex-a520",  (ARM, 0xD81): "cortex-a720",   (ARM, 0xD82): "cortex-x4",
    (ARM, 0xD84): "neoverse-v3",  (ARM, 0xD85): "cortex-x925",   (ARM, 0xD87): "cortex-a725",
    (QUALCOMM, 0x800): "cortex-a73", (QUALCOMM, 0x801): "cortex-a53",
    (QUALCOMM, 0x802): "cortex-a75", (QUALCOMM, 0x803): "cortex-a55",
    (QUALCOMM, 0x804): "cortex-a76", (QUALCOMM, 0x805): "cortex-a55",
}
# fmt: on


def parts() -> dict[str, list[tuple[int, int]]]:
    """The implementers and part numbers of each core of the table, by its name in `targets.cores`."""
    found: dict[str, list[tuple[int, int]]] = {}
    for part, name in _NAMES.items():
        found.setdefault(name, []).append(part)
    return found


def core_name(implementer: int, part: int) -> str:
    """The name in `targets.cores`, or the two numbers where the table has none."""
    return _NAMES.get((implementer, part), f"{implementer:#x}:{part:#05x}")


def core_of_midr(midr: int) -> str:
    """The same from MIDR_EL1: implementer in bits 31 to 24, part in bits 15 to 4 (Arm ARM, D19.2)."""
    return core_name(midr >> 24 & 0xFF, midr >> 4 & 0xFFF)
