"""LLVM IR around written-out assembly: a function that a kernel calls, and LLVM inlines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Machine:
    """What assembly is for."""

    vector: str
    """How the names of vector registers begin."""
    address: str
    """LLVM's type of what a general register holds."""
    triple: str

    @property
    def header(self) -> str:
        """The beginning of LLVM IR for it."""
        return f'target triple = "{self.triple}"\n'


@dataclass(frozen=True)
class Registers:
    """Those in which a tile of pixels finds its operands."""

    machine: Machine
    vectors: int
    """How many the machine has."""
    rows: Sequence[str]
    """Addresses of pixels."""
    weights: str
    """Their address."""
    count: str
    """One less than the rounds."""
    scratch: Sequence[str]
    """What is changed besides."""


A64 = Machine("v", "i64", "aarch64-unknown-linux-gnu")
A32 = Machine("q", "i32", "armv7a-unknown-linux-gnueabihf")
HEADER = A64.header


def call(
    lines: Sequence[str],
    sums: Sequence[int],
    arguments: Mapping[str, str],
    clobbers: Sequence[str],
    starts: Sequence[str] = (),
    kept: Sequence[str] = (),
    machine: Machine = A64,
) -> str:
    """The value `%r` of a call of the assembly `lines`, as LLVM IR: a structure that begins with `sums`.

    `sums` are vector registers. `arguments` are addresses or numbers by the general register they come in,
    which the assembly may change; `starts`, if any, are the values that the sums come in with. `kept` come in
    v0 and up, and stay. It is not duplicated: LLVM takes it all for one instruction, and would unroll loops
    with it.
    """
    count, registers = len(sums), list(arguments)
    vector, integer = machine.vector, machine.address
    results = ", ".join(["<4 x float>"] * count + [integer] * len(registers))
    outputs = [f"=&{{{vector}{register}}}" for register in sums] + [f"=&{{{name}}}" for name in registers]
    tied = [str(at) for at in range(count if starts else 0)]
    tied += [str(count + at) for at in range(len(registers))]
    tied += [f"{{{vector}{at}}}" for at in range(len(kept))]
    others = [f"~{{{name}}}" for name in (*clobbers, "memory", "cc")]
    values = [f"<4 x float> {value}" for value in starts] + [
        f"{integer} {arguments[name]}" for name in registers
    ]
    values += [f"<4 x float> {value}" for value in kept]
    text = "\\0A".join(lines)
    constraints = ",".join(outputs + tied + others)
    called = f'asm sideeffect "{text}", "{constraints}"({", ".join(values)})'
    return f"  %r = call {{ {results} }} {called} noduplicate\n"


def result(count: int, arguments: int, at: int, machine: Machine = A64) -> str:
    """The value `%v{at}` of the result's element `at`, as LLVM IR; there are `count` sums, `arguments`."""
    results = ", ".join(["<4 x float>"] * count + [machine.address] * arguments)
    return f"  %v{at} = extractvalue {{ {results} }} %r, {at}\n"


def stored(count: int, arguments: int, machine: Machine = A64) -> str:
    """The sums of a call, stored at `%sums` one after the other, as LLVM IR."""
    return "".join(
        result(count, arguments, at, machine)
        + f"  %p{at} = getelementptr inbounds <4 x float>, ptr %sums, i64 {at}\n"
        + f"  store <4 x float> %v{at}, ptr %p{at}, align 16\n"
        for at in range(count)
    )
