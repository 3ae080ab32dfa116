"""One AArch64 instruction read from its text: what kind it is, what it reads and what it writes."""

from __future__ import annotations

import re
from dataclasses import dataclass

ACCUMULATE = re.compile(
    r"(f?ml[as]|[su]q?r?dml[as][lh]?|[su]ml[as]l2?|fml[as]l[bt2]?|[su]{1,2}dot|fcmla|[su]{1,2}mmla|bfdot|bfm.*|"
    r"fn?m(add|sub))$"
)
# Instructions that change their destination in part, and so read it.
_READS_DESTINATION = re.compile(
    r"(movk|bfi|bfxil|bfm|bfc|tbx|bsl|bi[tf]|[su]r?sra|s[lr]i|[su]abal?2?|[su]adalp|\w*xtu?n2|\w*h?n2)$"
)
_SETS_FLAGS = re.compile(r"(adds|subs|ands|bics|adcs|sbcs|negs|ngcs|cmp|cmn|tst|ccm[pn]|fc?cmpe?|fccmpe?)$")
_READS_FLAGS = re.compile(
    r"(b\.\w+|f?csel|cset\w?|csin[cv]|csneg|c(inc|inv|neg)|f?ccm\w+|adcs?|sbcs?|ngcs?)$"
)
_NO_DESTINATION = re.compile(r"(cmp|cmn|tst|ccm[pn]|fc?cmpe?|dc|ic|msr|svc|hint|nop|dmb|dsb|isb)$")
_BRANCH = re.compile(r"(b|b\.\w+|bl|br|blr\w*|bra\w*|ret\w*|cbn?z|tbn?z)$")
_MEMORY = re.compile(r"(ld|st|prf|swp|cas)")
_ATOMIC = re.compile(r"(ld(add|clr|eor|set|[su]max|[su]min)|swp|cas)")
_DIVIDE = re.compile(r"(f?div|fdivr|fsqrt|[su]div)$")
_MULTIPLY = re.compile(r"(m(add|sub|ul|neg)|[su]m(addl|subl|ull|negl|ulh))$")
_REGISTER = re.compile(r"\b(?:([xw])(\d+)|([vqdshbz])(\d+)|(p)\d+|(w?sp)\b)")
_WIDE = re.compile(r"\.(16b|8h|4s|2d)\b|\bq\d|\bz\d")
_DOUBLE = re.compile(r"\bd\d|\.[12]?d\b")
_BITS = {"b": 64, "h": 64, "s": 64, "d": 64, "q": 128, "z": 128}


@dataclass(frozen=True)
class Instruction:
    """What a timing model asks about. Registers are x0..x30, sp, v0..v31, p (any predicate), flags."""

    # alu, mul, div, load, store, branch; of NEON: mac, fp, vector, insert, fdiv, load_neon, store_neon
    kind: str
    reads: frozenset[str] = frozenset()
    accumulator: str | None = None  # read too, and needed late
    writes: frozenset[str] = frozenset()
    base: str | None = None  # written back by a load or store
    bits: int = 64  # of a NEON operation (64 or 128), or of all that a load or store moves
    double: bool = False


def parse(text: str) -> Instruction:
    """The instruction of llvm-mc's text. What is not recognised is plain arithmetic on its registers."""
    mnemonic, _, rest = text.strip().partition(" ")
    operands = _operands(rest)
    if _BRANCH.match(mnemonic):
        return Instruction("branch", _registers(rest) | _flags(_READS_FLAGS, mnemonic))
    if _MEMORY.match(mnemonic) and ("[" in rest or len(operands) == 2):
        return _memory(mnemonic, rest, operands)
    return _arithmetic(mnemonic, rest, operands)


def _arithmetic(mnemonic: str, rest: str, operands: list[str]) -> Instruction:
    silent = _NO_DESTINATION.match(mnemonic) or not operands
    target = frozenset() if silent else _registers(operands[0])
    sources = operands if silent else operands[1:]
    reads = frozenset[str]().union(*map(_registers, sources)) | _flags(_READS_FLAGS, mnemonic)
    accumulator = None
    if ACCUMULATE.match(mnemonic) and target:
        scalar = mnemonic.endswith(("madd", "msub")) and len(operands) == 4
        accumulator = min(_registers(operands[3]) if scalar else target, default=None)
        reads = frozenset[str]().union(*map(_registers, operands[1:3] if scalar else sources))
    elif not silent and ("[" in operands[0] or _READS_DESTINATION.match(mnemonic) or "/m" in rest):
        reads |= target
    return Instruction(
        _kind(mnemonic, operands, bool(accumulator)),
        reads,
        accumulator,
        target | _flags(_SETS_FLAGS, mnemonic),
        bits=128 if _WIDE.search(rest) else 64,
        double=bool(_DOUBLE.search(rest)),
    )


def _kind(mnemonic: str, operands: list[str], accumulates: bool) -> str:
    neon = any(name[0] == "v" for operand in operands for name in _registers(operand))
    if not neon:
        return "div" if _DIVIDE.match(mnemonic) else "mul" if _MULTIPLY.match(mnemonic) else "alu"
    if accumulates:
        return "mac"
    if _DIVIDE.match(mnemonic):
        return "fdiv"
    if mnemonic in ("mov", "ins") and "[" in operands[0] and re.match(r"[xw]", operands[1]):
        return "insert"
    return "fp" if re.match(r"[fsu]cvt|f(?!mov)|[su]?q?r?d?mul", mnemonic) else "vector"


def _memory(mnemonic: str, rest: str, operands: list[str]) -> Instruction:
    """A load or a store; one without brackets takes its address from the program counter."""
    place = next((at for at, operand in enumerate(operands) if operand[0] == "["), len(operands) - 1)
    exclusive = int(bool(re.match(r"stl?x", mnemonic)) and place > 1)  # its status comes first
    data = [operand for operand in operands[exclusive:place] if "/" not in operand]
    reads = frozenset[str]().union(*(_registers(each) for each in operands[exclusive:] if each not in data))
    moved = frozenset[str]().union(*map(_registers, data))
    written_back = operands[place].endswith("!") or place + 1 < len(operands)
    base = min(_registers(operands[place].split(",")[0]), default=None) if written_back else None
    bits = sum(_moved_bits(mnemonic, operand) for operand in data)
    suffix = "_neon" if any(name[0] == "v" for name in moved) else ""
    if mnemonic.startswith("prf"):
        return Instruction("load", reads)
    if mnemonic.startswith("st"):
        status = _registers(operands[0]) if exclusive else frozenset[str]()
        return Instruction("store" + suffix, reads | moved, None, status, base, bits)
    if _ATOMIC.match(mnemonic) or re.search(r"\}\s*\[", rest):  # the latter one lane of a register
        reads |= moved
    return Instruction("load" + suffix, reads, None, moved, base, bits)


def _moved_bits(mnemonic: str, operand: str) -> int:
    """Bits of one data operand: what the core's 64-bit load path is busy with, never less than 64."""
    if operand.startswith("{"):
        count = len([name for name in _registers(operand) if name[0] == "v"])
        whole = not re.match(r"ld[1-4]r|.*\}\s*\[", mnemonic + operand)
        return count * (128 if whole and _WIDE.search(operand) else 64)
    return _BITS.get(operand[0], 32 if operand[0] == "w" else 64)


def _operands(rest: str) -> list[str]:
    """Split at the commas outside brackets and braces."""
    parts = re.findall(r"(?:\{[^}]*\}(?:\[\d+\])?|\[[^\]]*\]!?|[^,\[{])+", rest)
    return [part.strip() for part in parts if part.strip()]


def _registers(text: str) -> frozenset[str]:
    names = set()
    for general, number, _, vector, predicate, stack in _REGISTER.findall(_spelt_out(text)):
        names.add(f"x{number}" if general else f"v{vector}" if vector else predicate or stack[-2:])
    return frozenset(names)


def _spelt_out(text: str) -> str:
    """ "{ v0.4s - v3.4s }" with all four registers named."""
    span = re.search(r"([vz])(\d+)\.\w+\s*-\s*[vz](\d+)", text)
    if span is None:
        return text
    first, last = int(span[2]), int(span[3])
    return text + "".join(f" {span[1]}{(first + step) % 32}" for step in range((last - first) % 32 + 1))


def _flags(pattern: re.Pattern[str], mnemonic: str) -> frozenset[str]:
    return frozenset({"flags"}) if pattern.match(mnemonic) else frozenset()
