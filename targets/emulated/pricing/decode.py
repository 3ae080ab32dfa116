"""The text of machine code, by llvm-mc: each distinct instruction once."""

from __future__ import annotations

import re
from collections.abc import Sequence

from targets.emulated.pricing.tools import newest_tool, run_tool

UNKNOWN = ".unknown"
"""Stands for a word that is no instruction."""

_texts: dict[bytes, str] = {}


def disassemble(blocks: Sequence[bytes]) -> list[list[str]]:
    """The instructions of each block, as "fmla v0.4s, v1.4s, v2.s[0]"; UNKNOWN where there is none.

    Bytes after the last whole word of four are left out.
    """
    split = [_words(code) for code in blocks]
    new = sorted({word for words in split for word in words} - _texts.keys())
    if new:
        _texts.update(zip(new, _decode(new), strict=True))
    return [[_texts[word] for word in words] for words in split]


def _words(code: bytes) -> list[bytes]:
    return [code[at : at + 4] for at in range(0, len(code) - 3, 4)]


def _decode(words: list[bytes]) -> list[str]:
    """One line of input per word; a line that llvm-mc warns of as invalid has no line of output."""
    lines = "".join(" ".join(f"0x{byte:02x}" for byte in word) + "\n" for word in words)
    arguments = ["--disassemble", "-triple=aarch64", "-mattr=+all"]
    _, output, messages = run_tool(newest_tool("llvm-mc"), arguments, lines)
    invalid = {int(at) for at in re.findall(r"^<stdin>:(\d+):.*invalid instruction", messages, re.M)}
    printed = [re.sub(r"\s+", " ", line.split("//")[0]).strip() for line in output.splitlines()]
    texts = [line for line in printed if line and not line.startswith(".text")]
    if len(texts) + len(invalid) != len(words):  # lines no longer match words: ask for each by itself
        return [_decode([word])[0] for word in words] if len(words) > 1 else [UNKNOWN]
    rest = iter(texts)
    return [UNKNOWN if number in invalid else next(rest) for number in range(1, len(words) + 1)]
