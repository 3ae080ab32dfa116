"""Symbols of a relocatable object taken out of other objects' sight, as by `objcopy --keep-global-symbol`,
which Zig's has not.
"""

from __future__ import annotations

import struct
from collections.abc import Collection
from dataclasses import dataclass

_HEADER = struct.Struct("<16x2HI3QI6H")  # Elf64_Ehdr from e_type on
_SECTION = struct.Struct("<2I4Q2I2Q")  # Elf64_Shdr
_SYMBOL = struct.Struct("<IBBHQQ")  # Elf64_Sym
_RELOCATION = struct.Struct("<QQq")  # Elf64_Rela
_SYMTAB, _RELA, _GROUP = 2, 4, 17
_LOCAL, _UNDEFINED = 0, 0


@dataclass(frozen=True)
class _Section:
    """Where a section's header and content are, and what it refers to."""

    header: int
    type: int
    offset: int
    size: int
    link: int


def localized(image: bytes, kept: Collection[str]) -> bytes:
    """A little-endian ELF64 object whose symbols are local, but for those `kept` and those it lacks itself.

    Raises ValueError where a section names symbols in a way that is not known here.
    """
    content = bytearray(image)
    sections = _sections(content)
    for number, section in enumerate(sections):
        if section.type == _SYMTAB:
            order = _reorder(content, sections, section, set(kept))
            _follow(content, sections, number, order)
    return bytes(content)


def _sections(content: bytearray) -> list[_Section]:
    *_, start, _, _, _, _, size, count, _ = _HEADER.unpack_from(content)
    found = []
    for header in range(start, start + size * count, size):
        _, kind, _, _, offset, length, link, *_ = _SECTION.unpack_from(content, header)
        found.append(_Section(header, kind, offset, length, link))
    return found


def _reorder(
    content: bytearray, sections: list[_Section], table: _Section, kept: Collection[str]
) -> dict[int, int]:
    """Make symbols local and put those first, as ELF has it; the new number of each."""
    names = sections[table.link].offset
    symbols = []
    for at in range(table.offset, table.offset + table.size, _SYMBOL.size):
        name, info, other, place, value, size = _SYMBOL.unpack_from(content, at)
        start = names + name
        spelled = content[start : content.index(0, start)].decode()
        if place != _UNDEFINED and spelled not in kept:
            info, other = _LOCAL << 4 | info & 0xF, 0
        symbols.append((name, info, other, place, value, size))
    order = sorted(range(len(symbols)), key=lambda each: symbols[each][1] >> 4 != _LOCAL)
    for position, each in enumerate(order):
        _SYMBOL.pack_into(content, table.offset + position * _SYMBOL.size, *symbols[each])
    locals_ = sum(info >> 4 == _LOCAL for _, info, *_ in symbols)
    struct.pack_into("<I", content, table.header + 44, locals_)  # sh_info
    return {each: position for position, each in enumerate(order)}


def _follow(content: bytearray, sections: list[_Section], table: int, order: dict[int, int]) -> None:
    """Let what names symbols by number name them by their new one."""
    for section in sections:
        if section.link != table:
            continue
        if section.type == _RELA:
            for at in range(section.offset, section.offset + section.size, _RELOCATION.size):
                place, info, addend = _RELOCATION.unpack_from(content, at)
                _RELOCATION.pack_into(content, at, place, order[info >> 32] << 32 | info & 0xFFFFFFFF, addend)
        elif section.type == _GROUP:
            (signature,) = struct.unpack_from("<I", content, section.header + 44)
            struct.pack_into("<I", content, section.header + 44, order[signature])
        else:
            raise ValueError(f"a section of type {section.type:#x} refers to symbols")
