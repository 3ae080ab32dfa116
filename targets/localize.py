"""Symbols of a relocatable object taken out of other objects' sight, as by `objcopy --keep-global-symbol`,
which Zig's has not.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Mapping
from dataclasses import dataclass

_SYMTAB, _RELA, _REL, _GROUP = 2, 4, 9, 17
_LOCAL, _UNDEFINED = 0, 0


@dataclass(frozen=True)
class _Class:
    """How an object lays its tables out: ELF32 or ELF64."""

    header: struct.Struct
    """From e_type on."""
    section: struct.Struct
    section_info: int
    """Where in it sh_info is."""
    symbol: struct.Struct
    info: int
    """Which of its fields st_info is; st_other and st_shndx follow."""
    relocations: Mapping[int, struct.Struct]
    """By the type of their section."""
    shift: int
    """The bits of r_info below the symbol's number."""


_CLASSES = {
    1: _Class(
        header=struct.Struct("<16x2H5I6H"),
        section=struct.Struct("<10I"),
        section_info=28,
        symbol=struct.Struct("<3I2BH"),
        info=3,
        relocations={_RELA: struct.Struct("<2Ii"), _REL: struct.Struct("<2I")},
        shift=8,
    ),
    2: _Class(
        header=struct.Struct("<16x2HI3QI6H"),
        section=struct.Struct("<2I4Q2I2Q"),
        section_info=44,
        symbol=struct.Struct("<I2BH2Q"),
        info=1,
        relocations={_RELA: struct.Struct("<2Qq"), _REL: struct.Struct("<2Q")},
        shift=32,
    ),
}
"""By e_ident[EI_CLASS]."""


@dataclass(frozen=True)
class _Section:
    """Where a section's header and content are, and what it refers to."""

    header: int
    type: int
    offset: int
    size: int
    link: int


def localized(image: bytes, kept: Collection[str]) -> bytes:
    """A little-endian ELF object whose symbols are local, but for those `kept` and those it lacks itself.

    Raises ValueError where a section names symbols in a way that is not known here.
    """
    content, layout = bytearray(image), _CLASSES[image[4]]
    sections = _sections(content, layout)
    for number, section in enumerate(sections):
        if section.type == _SYMTAB:
            order = _reorder(content, layout, sections, section, set(kept))
            _follow(content, layout, sections, number, order)
    return bytes(content)


def _sections(content: bytearray, layout: _Class) -> list[_Section]:
    *_, start, _, _, _, _, size, count, _ = layout.header.unpack_from(content)
    found = []
    for header in range(start, start + size * count, size):
        _, kind, _, _, offset, length, link, *_ = layout.section.unpack_from(content, header)
        found.append(_Section(header, kind, offset, length, link))
    return found


def _reorder(
    content: bytearray, layout: _Class, sections: list[_Section], table: _Section, kept: Collection[str]
) -> dict[int, int]:
    """Make symbols local and put those first, as ELF has it; the new number of each."""
    names, size, info = sections[table.link].offset, layout.symbol.size, layout.info
    symbols = []
    for at in range(table.offset, table.offset + table.size, size):
        symbol = list(layout.symbol.unpack_from(content, at))
        start = names + symbol[0]
        spelled = content[start : content.index(0, start)].decode()
        if symbol[info + 2] != _UNDEFINED and spelled not in kept:
            symbol[info : info + 2] = _LOCAL << 4 | symbol[info] & 0xF, 0
        symbols.append(symbol)
    order = sorted(range(len(symbols)), key=lambda each: symbols[each][info] >> 4 != _LOCAL)
    for position, each in enumerate(order):
        layout.symbol.pack_into(content, table.offset + position * size, *symbols[each])
    locals_ = sum(symbol[info] >> 4 == _LOCAL for symbol in symbols)
    struct.pack_into("<I", content, table.header + layout.section_info, locals_)
    return {each: position for position, each in enumerate(order)}


def _follow(
    content: bytearray, layout: _Class, sections: list[_Section], table: int, order: dict[int, int]
) -> None:
    """Let what names symbols by number name them by their new one."""
    below = (1 << layout.shift) - 1
    for section in sections:
        if section.link != table:
            continue
        if relocation := layout.relocations.get(section.type):
            for at in range(section.offset, section.offset + section.size, relocation.size):
                place, info, *addend = relocation.unpack_from(content, at)
                info = order[info >> layout.shift] << layout.shift | info & below
                relocation.pack_into(content, at, place, info, *addend)
        elif section.type == _GROUP:
            signature = section.header + layout.section_info
            struct.pack_into("<I", content, signature, order[struct.unpack_from("<I", content, signature)[0]])
        else:
            raise ValueError(f"a section of type {section.type:#x} refers to symbols")
