"""Prices of code: sequences computed by hand, properties, and the inner loop of a pointwise kernel."""

from __future__ import annotations

import re
import time

import pytest
import tvm
from hypothesis import given, settings
from hypothesis import strategies as st
from tvm import te, tirx

from schedules import pointwise
from schedules.apply import schedule_kernel
from targets.cores import AARCH64, CORES, find_core
from targets.emulated.pricing import price, timing_model
from targets.emulated.pricing.decode import UNKNOWN, disassemble
from targets.emulated.pricing.inorder import cycles_in_order
from targets.emulated.pricing.instruction import parse
from targets.emulated.pricing.mca import MODELS, _refused, cycles_by_mca
from targets.emulated.pricing.rules import RULES
from targets.emulated.pricing.tools import Tool, newest_tool, run_tool
from targets.errors import UserError

NO_INSTRUCTION = bytes.fromhex("ffffffff")


def assemble(lines: list[str]) -> bytes:
    source = "\n".join(re.sub(r"\.L\w+", "#-64", line) for line in lines) + "\n"
    arguments = ["-triple=aarch64", "-mattr=+all", "-show-encoding"]
    code, output, messages = run_tool(newest_tool("llvm-mc"), arguments, source)
    assert code == 0, messages
    words = re.findall(r"encoding: \[([^]]*)\]", output)
    return b"".join(bytes(int(byte, 16) for byte in word.split(",")) for word in words)


def cycles(core: str, *lines: str) -> float:
    return price([assemble(list(lines))], find_core(core))[0]


def fmla(accumulator: int, shape: str = "4s", a: int = 30, b: int = 31) -> str:
    return f"fmla v{accumulator}.{shape}, v{a}.{shape}, v{b}.{shape}"


def interleave(*columns: list[str]) -> list[str]:
    return [line for row in zip(*columns, strict=True) for line in row]


FOUR = range(4)
FMLA = [fmla(n) for n in FOUR]
INS = [f"ins v{n + 8}.d[1], x{n + 8}" for n in FOUR]
LOAD_D = [f"ldr d{n + 16}, [x0, #{n * 8}]" for n in FOUR]
LOAD_X = [f"ldr x{n + 16}, [x0, #{n * 8}]" for n in FOUR]

# What docs/pricing.md's rules come to: name, instructions, cycles on A53 and on A55.
BY_HAND = [
    ("each fmla waits 4 cycles for its accumulator", [fmla(0)] * 4, 16, 16),
    ("a product of an accumulator", [fmla(0, a=1), fmla(1, a=0)], 16, 8),
    ("one 128-bit operation a cycle", FMLA * 2, 8, 8),
    ("two 64-bit operations a cycle", [fmla(n, "2s") for n in range(8)], 4, 4),
    ("a 128-bit load is alone for two cycles", ["ldr q16, [x0]", *FMLA], 6, 6),
    ("two loads in one are alone for four", ["ldp q16, q17, [x0]", *FMLA], 8, 8),
    ("64-bit NEON loads beside fmla", interleave(FMLA, LOAD_D), 8, 4),
    ("integer loads beside fmla", interleave(FMLA, LOAD_X), 4, 4),
    ("ins beside a 64-bit NEON load", interleave(LOAD_D, INS), 4, 4),
    ("ins beside fmla", interleave(FMLA, INS), 8, 4),
    ("one memory operation a cycle", interleave(LOAD_D, LOAD_X), 8, 8),
    ("a pointer chase", ["ldr x0, [x0]"], 3, 3),
    ("a NEON load feeds fmla", ["ldr d1, [x0]", fmla(1, "2s"), "fmov x0, d1"], 15, 10),
    ("integers", ["add x0, x0, #1", "add x1, x1, #1"], 1, 1),
    ("division is not pipelined", ["fdiv v0.4s, v1.4s, v2.4s"], 14, 10),
]


@pytest.mark.parametrize(
    ("lines", "a53", "a55"), [row[1:] for row in BY_HAND], ids=[row[0] for row in BY_HAND]
)
def test_in_order_by_hand(lines, a53, a55):
    assert cycles("a53", *lines) == a53
    assert cycles("a55", *lines) == a55


def test_split_loads_beat_whole_ones_on_a53():
    """Six 128-bit loads for 24 fmla: ldr q, or ldr d beside ins with ldr x beside fmla."""
    work = [fmla(n) for n in range(24)]
    whole = [f"ldr q{n + 24}, [x0, #{n * 16}]" for n in range(6)]
    low = [f"ldr d{n + 24}, [x0, #{n * 16}]" for n in range(6)]
    high = [f"ldr x{n + 2}, [x0, #{n * 16 + 8}]" for n in range(6)]
    join = [f"ins v{(n + 1) % 6 + 24}.d[1], x{(n + 1) % 6 + 2}" for n in range(6)]
    with_whole = interleave(whole, *[work[n::4] for n in FOUR])
    with_split = interleave(low, join, work[0::4], high, *[work[n::4] for n in (1, 2, 3)])
    assert cycles("a53", *with_whole) == 36
    assert cycles("a53", *with_split) == 30


POOL = [
    *FMLA,
    *INS,
    *LOAD_D,
    *LOAD_X,
    "ldr q1, [x0], #16",
    "ldp q2, q3, [x1]",
    "str q0, [x2]",
    "stp x1, x2, [x3]",
]
POOL += ["ldp x8, x9, [x1], #16", "subs x1, x1, #1", "b.ne #-64", "cbz x16, #8", "mul x8, x9, x10", "nop"]
POOL += [
    "fdiv s1, s2, s3",
    "fadd v0.4s, v1.4s, v2.4s",
    "movi v0.2d, #0",
    "ld1r { v31.4s }, [x8]",
    fmla(2, "2s", 1, 0),
]
PARSED = [parse(line) for line in POOL]


@given(st.lists(st.sampled_from(PARSED), max_size=14), st.sampled_from(PARSED), st.data())
@settings(max_examples=300, deadline=None)
def test_one_more_instruction_never_makes_a_block_cheaper(block, more, data):
    at = data.draw(st.integers(0, len(block)))
    for rules in RULES.values():
        longer = [*block[:at], more, *block[at:]]
        assert cycles_in_order(longer, rules) >= cycles_in_order(block, rules) - 1e-9


@given(st.lists(st.sampled_from(PARSED), min_size=1, max_size=14))
@settings(max_examples=100, deadline=None)
def test_twice_the_block_is_twice_the_price(block):
    for rules in RULES.values():
        assert cycles_in_order(block * 2, rules) == pytest.approx(2 * cycles_in_order(block, rules))


@pytest.mark.parametrize("core", ["a53", "a72", "a76", "x1", "a510"])
def test_calls_cost_a_branch_and_strange_code_does_not_fail(core):
    row = find_core(core)
    plain = assemble(["add x0, x0, #1", "mul x1, x2, x3"])
    calls = [plain + assemble([call]) for call in ("bl #64", "blr x1", "ret", "svc #0")]
    strange = [
        NO_INSTRUCTION * 3,
        plain + NO_INSTRUCTION,
        plain + assemble(["addg x0, x1, #16, #2", "fmla z0.s, p0/m, z1.s, z2.s", "ldr d0, #512"]),
        plain + b"\x00",
        b"",
    ]
    prices = price([*calls, *strange], row)
    assert all(1 <= cost <= 4 for cost in prices[:4])
    assert prices[-1] == 0
    assert all(0 < cost < 20 for cost in prices[4:-1])


def test_words_that_are_no_instruction_keep_the_others_in_place():
    good = assemble(["add x0, x0, #1", "ret"])
    assert disassemble([good[:4] + NO_INSTRUCTION + good[4:]]) == [["add x0, x0, #1", UNKNOWN, "ret"]]


def test_tools_that_are_too_old_or_missing_are_named(monkeypatch):
    old = Tool("llvm-mca", 14, "LLVM version 14.0.6")
    monkeypatch.setattr("targets.emulated.pricing.mca.newest_tool", lambda _: old)
    with pytest.raises(UserError, match="install LLVM 19 or newer"):
        cycles_by_mca([["nop"]], MODELS["cortex-a76"])
    monkeypatch.setenv("PATH", "")
    newest_tool.cache_clear()
    with pytest.raises(UserError, match="was not found on PATH"):
        newest_tool("llvm-mca")


def test_instructions_that_an_old_llvm_mca_refuses_are_found():
    lines = ["# LLVM-MCA-BEGIN 0", "nop", "casal x1, x2, [x3]", "# LLVM-MCA-END 0"]
    said = "error: found an unsupported instruction in the input assembly sequence.\nnote: instruction: "
    assert _refused(said + "\tcasal\tx1, x2, [x3]\n", lines) == {3}
    assert _refused("<stdin>:2:1: error: instruction requires: mte\nnop\n^\n", lines) == {2}
    assert _refused("warning: found a return instruction\n", lines) == set()


def test_every_core_has_a_timing_model():
    cores = [core for core in CORES if core.arch == AARCH64]
    assert {core.name for core in cores if timing_model(core) == "cortex-a53"} == {"generic", "cortex-a53"}
    assert timing_model(find_core("a73")) == "cortex-a72"
    assert timing_model(find_core("a34")) == "cortex-a35"
    for core in cores:
        assert timing_model(core)
        assert not core.in_order or timing_model(core) in RULES


@pytest.mark.parametrize("core", ["a53", "a72"])
def test_a_batch_is_priced_as_its_blocks_are_and_kept(core, tmp_path, monkeypatch):
    monkeypatch.setenv("ARMATURE_CACHE", str(tmp_path))
    blocks = [assemble(FMLA[:n] + LOAD_X[: 4 - n]) for n in range(5)]
    alone = [price([block], find_core(core))[0] for block in blocks]
    monkeypatch.setattr("targets.emulated.pricing._known", {})
    assert price(blocks * 2, find_core(core), keep=True) == alone * 2
    assert list((tmp_path / "prices").glob("*.json"))
    monkeypatch.setattr("targets.emulated.pricing._known", {})
    monkeypatch.setattr("targets.emulated.pricing._compute", None)  # the cache alone answers
    assert price(blocks, find_core(core), keep=True) == alone


@pytest.mark.parametrize("core", ["a53", "a72"])
def test_hundreds_of_blocks_take_seconds(core):
    blocks = [assemble([f"add x{n % 8}, x{n // 8 % 8}, #{n}", *FMLA[: n % 5], "nop"]) for n in range(20)]
    blocks = [one + other for one in blocks for other in blocks]
    start = time.monotonic()
    price(blocks, find_core(core))
    assert time.monotonic() - start < 8  # one second on an idle machine


def pointwise_loop(core: str) -> list[str]:
    """The innermost loop of the 196x96x576 pointwise kernel, compiled for the core."""
    data, weight = te.placeholder((1, 14, 14, 96)), te.placeholder((96, 576))
    total = pointwise.define(data, weight, 576, (1, 1))
    zero = tirx.const(0.0, "float32")
    capped = te.compute(total.shape, lambda *i: te.max(total(*i), zero))
    row = find_core(core)
    function = schedule_kernel(te.create_prim_func([data, weight, capped]), row).function
    module = tvm.IRModule({"main": function.with_attr("global_symbol", "main")})
    source = tvm.tirx.build(module, target=row.target()).inspect_source("s")
    # Found at each label, as loops lie in one another.
    found = re.finditer(r"^(?=(\.L\w+):(.*?\sb\.ne\s+\1)$)", source, re.M | re.S)
    loops = [[line.strip() for line in loop[2].splitlines() if re.match(r"\s+[a-z]", line)] for loop in found]
    innermost = [loop for loop in loops if sum(line.startswith("b.ne") for line in loop) == 1]
    return max(innermost, key=lambda loop: sum(line.startswith("fmla") for line in loop))


# In per cent of the FMA limit: the loop alone, without the tile's first loads and its epilogue.
POINTWISE = [("a72", 94, 100), ("a76", 60, 100), ("a55", 90, 100), ("a53", 72, 82)]


@pytest.mark.parametrize(("core", "low", "high"), POINTWISE, ids=[row[0] for row in POINTWISE])
def test_pointwise_loop_against_the_fma_limit(core, low, high):
    loop = pointwise_loop(core)
    multiply_adds = sum(line.startswith("fmla") for line in loop)
    assert multiply_adds >= 56
    limit = multiply_adds / find_core(core).fma_per_cycle
    assert low <= 100 * limit / cycles(core, *loop) <= high
