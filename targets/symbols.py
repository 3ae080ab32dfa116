"""Where the functions of an ELF library lie in its file."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from targets.errors import UserError


@dataclass(frozen=True)
class Function:
    """A function's name and its bytes [start, end) of the file."""

    name: str
    start: int
    end: int


class Functions:
    """The functions of a library, to be found by their place in the file."""

    def __init__(self, library: Path) -> None:
        """Read the library's symbols, else those it exports. UserError when it is no ELF file."""
        try:
            with library.open("rb") as file:
                self.all = tuple(sorted(_read(ELFFile(file)), key=lambda function: function.start))
        except (OSError, ELFError) as error:
            raise UserError(f"cannot read the functions of {library}: {error}") from error
        self._starts = [function.start for function in self.all]

    def at(self, offset: int) -> Function | None:
        """The function that the byte at `offset` belongs to."""
        before = bisect_right(self._starts, offset) - 1
        function = self.all[before] if before >= 0 else None
        return function if function is not None and offset < function.end else None


def _read(elf: ELFFile) -> Iterator[Function]:
    segments = [segment.header for segment in elf.iter_segments() if segment.header.p_type == "PT_LOAD"]
    table = elf.get_section_by_name(".symtab") or elf.get_section_by_name(".dynsym")
    symbols = table.iter_symbols() if isinstance(table, SymbolTableSection) else ()
    for symbol in symbols:
        if symbol["st_info"]["type"] != "STT_FUNC" or symbol["st_size"] == 0:
            continue
        address = symbol["st_value"]
        for segment in segments:
            if segment.p_vaddr <= address < segment.p_vaddr + segment.p_filesz:
                start = address - segment.p_vaddr + segment.p_offset
                yield Function(symbol.name, start, start + symbol["st_size"])
