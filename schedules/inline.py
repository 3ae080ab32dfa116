"""LLVM IR around written-out assembly: a function that a kernel calls, and LLVM inlines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

HEADER = 'target triple = "aarch64-unknown-linux-gnu"\n'


def call(
    lines: Sequence[str],
    sums: Sequence[int],
    arguments: Mapping[str, str],
    clobbers: Sequence[str],
    starts: Sequence[str] = (),
    kept: Sequence[str] = (),
) -> str:
    """The value `%r` of a call of the assembly `lines`, as LLVM IR: a structure that begins with `sums`.

    `sums` are vector registers. `arguments` are i64 values by the general register they come in, which the
    assembly may change; `starts`, if any, are the values that the sums come in with. `kept` come in v0 and
    up, and stay. It is not duplicated: LLVM takes it all for one instruction, and would unroll loops with it.
    """
    count, registers = len(sums), list(arguments)
    results = ", ".join(["<4 x float>"] * count + ["i64"] * len(registers))
    outputs = [f"=&{{v{register}}}" for register in sums] + [f"=&{{{name}}}" for name in registers]
    tied = [str(at) for at in range(count if starts else 0)]
    tied += [str(count + at) for at in range(len(registers))]
    tied += [f"{{v{at}}}" for at in range(len(kept))]
    others = [f"~{{{name}}}" for name in (*clobbers, "memory", "cc")]
    values = [f"<4 x float> {value}" for value in starts] + [f"i64 {arguments[name]}" for name in registers]
    values += [f"<4 x float> {value}" for value in kept]
    text = "\\0A".join(lines)
    constraints = ",".join(outputs + tied + others)
    called = f'asm sideeffect "{text}", "{constraints}"({", ".join(values)})'
    return f"  %r = call {{ {results} }} {called} noduplicate\n"


def result(count: int, arguments: int, at: int) -> str:
    """The value `%v{at}` of the result's element `at`, as LLVM IR; there are `count` sums, `arguments`."""
    results = ", ".join(["<4 x float>"] * count + ["i64"] * arguments)
    return f"  %v{at} = extractvalue {{ {results} }} %r, {at}\n"


def stored(count: int, arguments: int) -> str:
    """The sums of a call, stored at `%sums` one after the other, as LLVM IR."""
    return "".join(
        result(count, arguments, at)
        + f"  %p{at} = getelementptr inbounds <4 x float>, ptr %sums, i64 {at}\n"
        + f"  store <4 x float> %v{at}, ptr %p{at}, align 16\n"
        for at in range(count)
    )
