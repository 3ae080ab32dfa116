"""Kernels for 32-bit cores: what they compute under qemu-arm, and what LLVM and arm32.py make of them."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from reference import Case, assert_close, function_of, prepared
from test_assembly import POINTWISE, WINDOW, assembly, count, written_out

from compile.c_library.kernels import compile_kernels
from schedules.apply import schedule_kernel
from schedules.arm32 import REGISTERS, Tile
from schedules.window import Window
from targets.cores import ARMV7, find_core
from targets.emulated.board import find_qemu, find_sysroot
from targets.platforms import arm_platform
from targets.toolchain import compile_object, compile_program

LINUX = arm_platform("linux", ARMV7)
CORES = ("cortex-a9", "cortex-a15")
STRIDED = Window((3, 3), (2, 2), (0, 0, 1, 1))

# Depths with channels left over, tiles and panels that do not divide, borders, and one row.
CASES = [
    Case("pointwise", (1, 33, 5, 7), 24, residual=True),
    Case("pointwise", (2, 24, 7, 7), 33),
    Case("pointwise", (1, 3, 3, 3), 40),
    Case("pointwise", (1, 16, 9, 5), 12, Window((1, 1), (2, 2))),
    Case("pointwise", (1, 32, 1, 5), 7),
    Case("pointwise", (1, 320, 3, 4), 88),
    Case("conv", (1, 10, 6, 5), 16, WINDOW, residual=True),
    Case("conv", (1, 16, 7, 7), 16, STRIDED, groups=2),
    Case("conv", (1, 16, 7, 7), 8, STRIDED, groups=2),
    Case("dense", (1, 37), 40),
    Case("dense", (3, 64), 11),
    Case("depthwise", (1, 18, 7, 9), 18, WINDOW),
    Case("depthwise", (1, 16, 8, 8), 16, STRIDED, residual=True),
    Case("stem", (1, 3, 9, 11), 24, Window((3, 3), (2, 2), (1, 1, 1, 1))),
    Case("mean", (1, 20, 5, 5)),
]

PROGRAM = """
#include <stdio.h>
#include <stdlib.h>
{declarations}
static void *room(FILE *file, size_t size) {{
  void *memory = aligned_alloc(64, (size + 63) / 64 * 64);
  if (file && fread(memory, 1, size, file) != size) exit(1);
  return memory;
}}
int main(int count, char **arguments) {{
  FILE *in = fopen(arguments[count - 2], "rb"), *out = fopen(arguments[count - 1], "wb");
{calls}
  return fclose(out);
}}
"""
CALL = """  {{
    void *given[] = {{{rooms}}};
    {symbol}({given});
    fwrite(given[{last}], 1, {size}, out);
  }}"""


def call(symbol: str, values: Sequence[np.ndarray], scratch: Sequence[int]) -> str:
    rooms = [f"room(in, {value.nbytes})" for value in values] + [f"room(NULL, {size})" for size in scratch]
    given = ", ".join(f"given[{at}]" for at in range(len(rooms)))
    last = len(values) - 1
    return CALL.format(rooms=", ".join(rooms), symbol=symbol, given=given, last=last, size=values[-1].nbytes)


@pytest.mark.emulator
@pytest.mark.parametrize("name", CORES)
def test_kernels_compute_what_pytorch_does(name: str, tmp_path: Path) -> None:
    core = find_core(name)
    kernels = {
        f"kernel{at}": schedule_kernel(function_of(case), core).function for at, case in enumerate(CASES)
    }
    scratch = compile_kernels(kernels, LINUX.target(core), tmp_path / "kernels.o")
    cases = [prepared(case, kernel) for case, kernel in zip(CASES, kernels.values(), strict=True)]
    calls = [call(each, values, scratch[each]) for each, (values, _) in zip(kernels, cases, strict=True)]
    declarations = "\n".join(f"void {each}();" for each in kernels)
    source = PROGRAM.format(declarations=declarations, calls="\n".join(calls))
    (tmp_path / "user.c").write_text(source)
    compile_object(tmp_path / "user.c", tmp_path / "user.o", ("-std=gnu11", "-w"), LINUX.zig)
    compile_program([tmp_path / "user.o", tmp_path / "kernels.o"], tmp_path / "user", (), "cc", LINUX.zig)
    (tmp_path / "in").write_bytes(b"".join(value.tobytes() for values, _ in cases for value in values))
    emulator = [find_qemu(ARMV7), "-cpu", core.qemu[0], "-L", find_sysroot(ARMV7)]
    subprocess.run([*emulator, tmp_path / "user", tmp_path / "in", tmp_path / "out"], check=True, timeout=300)
    content, at = (tmp_path / "out").read_bytes(), 0
    for _, expected in cases:
        assert_close(np.frombuffer(content, "float32", expected.size, at).reshape(expected.shape), expected)
        at += expected.nbytes
    assert at == len(content)


@pytest.mark.parametrize("name", ["cortex-a7", "cortex-a9"])
def test_a_pointwise_round_is_32_multiply_adds_of_42_instructions(name: str) -> None:
    for piece in written_out(assembly(POINTWISE, find_core(name)).replace("@", "//")):
        loop = piece[next(at for at, line in enumerate(piece) if line.startswith("vmla")) :]
        loop = loop[: next(at for at, line in enumerate(loop) if line.startswith("bne")) + 1]
        assert (count(loop, "vmla.f32"), len(loop)) == (32, 42)


def test_an_a9_is_given_no_fused_multiply_add() -> None:
    cases = (POINTWISE, Case("depthwise", (1, 16, 8, 8), 16, WINDOW))
    fused = {name: [count_all(assembly(case, find_core(name))) for case in cases] for name in CORES}
    assert fused["cortex-a9"] == [0, 0] and fused["cortex-a15"][1] > 0


def count_all(source: str) -> int:
    return len(re.findall(r"\bvfma|\bvfnma|\bvfms|\bsdiv|\budiv", source))


@pytest.mark.parametrize("depth", range(1, 14))
@pytest.mark.parametrize(("rows", "panels"), [(4, 2), (3, 2), (2, 4), (3, 3), (1, 10), (1, 2)])
def test_a_tile_reads_each_operand_once(rows: int, panels: int, depth: int) -> None:
    tile = Tile(rows, panels, depth)
    if not tile.fits:
        assert panels % 2 and depth % 4
        return
    sums, pixels, weights = walked(tile)
    assert (pixels, weights) == ([depth] * rows, depth * panels)
    every = [(channel, panel) for channel in range(depth) for panel in range(panels)]
    for row in range(rows):
        for panel in range(panels):
            wanted = [(row, channel, channel * panels + panel) for channel in range(depth)]
            assert sums[tile.sums[row * panels + panel]] == wanted
    assert len(sums) == rows * panels <= REGISTERS and len(every) == weights


def walked(tile: Tile) -> tuple[dict[int, list[tuple[int, int, int]]], list[int], int]:
    """The products that each register sums, as (row, channel, vector of weights), and how far bases went."""
    held: dict[str, tuple[int, int]] = {}
    panel_of: dict[int, int] = {}
    sums: dict[int, list[tuple[int, int, int]]] = {}
    pixels, weights = [0] * tile.rows, 0
    lines, at, turns = tile.lines(), 0, tile.rounds - 1
    while at < len(lines):
        line = lines[at]
        if line.startswith("bne"):
            turns -= 1
            at = lines.index("1:") if turns else at
        elif load := re.match(r"vld1.32 \{(.*)\}, \[r(\d)\]!", line):
            registers, base = load[1], int(load[2])
            if base == 4:
                first = int(registers[1 : registers.index("-")])
                panel_of |= {first // 2: weights, first // 2 + 1: weights + 1}
                weights += 2
            else:
                lanes = re.findall(r"d(\d+)(\[0\])?", registers)
                scalars = [f"d{d}[{lane}]" for d, one in lanes for lane in ((0,) if one else (0, 1))]
                held |= {scalar: (base, pixels[base] + n) for n, scalar in enumerate(scalars)}
                pixels[base] += len(scalars)
        elif product := re.match(r"vmla.f32 q(\d+), q(\d+), (.*)", line):
            sums.setdefault(int(product[1]), []).append((*held[product[3]], panel_of[int(product[2])]))
        at += 1
    return sums, pixels, weights
