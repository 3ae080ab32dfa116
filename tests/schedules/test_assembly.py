"""What LLVM makes of the schedules for cortex-a72: multiply-adds per loop, and nothing spilled inside."""

from __future__ import annotations

import re

import pytest
import tvm
from reference import Case, compiled
from tvm.tirx import PrimFunc

from schedules import argmax, concat, planar
from schedules.apply import schedule_kernel
from schedules.window import Window
from targets.cores import Core, find_core
from targets.emulated.pricing.inorder import cycles_in_order
from targets.emulated.pricing.instruction import parse
from targets.emulated.pricing.rules import RULES

CORE = find_core("cortex-a72")
WINDOW = Window((3, 3), (1, 1), (1, 1, 1, 1))
POINTWISE = Case("pointwise", (1, 96, 14, 14), 576)
DEPTHWISE = Case("depthwise", (1, 192, 28, 28), 192, WINDOW)
EVERY_KIND = [
    POINTWISE,
    DEPTHWISE,
    Case("stem", (1, 3, 56, 56), 32, Window((3, 3), (2, 2), (1, 1, 1, 1))),
    Case("dense", (1, 1280), 1000),
    Case("mean", (1, 1280, 7, 7)),
    Case("pool", (1, 64, 28, 28), 0, WINDOW),
]


def assembly(case: Case, core: Core = CORE) -> str:
    return compiled(case, core, core.target()).inspect_source("s")


def assembly_of(function: PrimFunc, core: Core = CORE) -> str:
    """Of a kernel as the default schedules it."""
    scheduled = schedule_kernel(function, core).function.with_attr("global_symbol", "main")
    module = tvm.tirx.build(tvm.IRModule({"main": scheduled}), target=core.target())
    return str(module.inspect_source("s"))


def innermost_loops(source: str) -> list[list[str]]:
    """The instructions of every loop that holds no other: from a label to a branch back to it."""
    lines = [line.strip() for line in source.splitlines() if re.match(r"\s+[a-z]|\.L(BB|tmp)", line)]
    labels = {line.split(":")[0]: index for index, line in enumerate(lines) if line.startswith(".L")}
    spans = []
    for end, line in enumerate(lines):
        branch = re.match(r"(?:b\.\w+|cbn?z|tbn?z|b)\s.*?(\.L\w+)", line)
        if branch and labels.get(branch[1], end) < end:
            spans.append((labels[branch[1]], end))
    inner = [(a, b) for a, b in spans if not any((c, d) != (a, b) and a <= c and d <= b for c, d in spans)]
    return [[line for line in lines[a : b + 1] if not line.startswith(".L")] for a, b in inner]


def written_out(source: str) -> list[list[str]]:
    """The instructions of each piece of inline assembly."""
    pieces = re.findall(r"//APP\n(.*?)//NO_APP", source, re.DOTALL)
    return [[line.strip() for line in piece.splitlines() if re.match(r"\s+[a-z]", line)] for piece in pieces]


def count(loop: list[str], instruction: str) -> int:
    return sum(line.split()[0] == instruction for line in loop)


def spills(loop: list[str]) -> list[str]:
    return [line for line in loop if re.match(r"(str|stp|stur|ldr|ldp|ldur)\s+[qdsv]\d.*\[sp", line)]


@pytest.mark.parametrize("name", ["cortex-a72", "cortex-a76"])
def test_pointwise_loop_is_56_multiply_adds_of_75_instructions(name):
    loops = [loop for loop in innermost_loops(assembly(POINTWISE, find_core(name))) if count(loop, "fmla")]
    assert loops
    for loop in loops:  # of whole blocks of tiles, and of the last block
        assert count(loop, "fmla") == 56  # 7 pixels x 8 output channels / 4 lanes x 4 input channels
        assert count(loop, "ldr") + count(loop, "ldur") == 15  # 7 pixels and 8 vectors of weights
        assert len(loop) == 56 + 15 + 4
        assert not spills(loop)


@pytest.mark.parametrize("name", ["cortex-a53", "cortex-a55", "cortex-a72", "cortex-a76"])
def test_pointwise_sum_is_two_vector_operations_besides_its_products(name):
    for tile in written_out(assembly(POINTWISE, find_core(name))):
        sums = count(tile, "smax")
        assert sums in (14, 16, 8)  # of 7 or 8 pixels; in-order cores have 4 pixels left of 196
        assert count(tile, "smin") == sums
        assert count(tile, "st1") == sums // 2  # two panels of a pixel at once
        assert not count(tile, "fadd") + count(tile, "fmaxnm") + count(tile, "fminnm")
        # A load each, or copies of the first pixel's, which go beside loads.
        loads = sum(line.startswith("ldur") and "[x20" in line for line in tile)
        copies = sum(line.startswith("mov") and ".16b" in line for line in tile)
        assert (loads, copies) in ((sums, 0), (0, sums - 2))
        assert not [line for line in tile if "[sp" in line]


@pytest.mark.parametrize(("name", "least"), [("cortex-a53", 0.79), ("cortex-a55", 0.96)])
def test_pointwise_loop_on_in_order_cores_loads_by_halves(name, least):
    core = find_core(name)
    loop = max(innermost_loops(assembly(POINTWISE, core)), key=lambda loop: count(loop, "fmla"))
    rounds = 4  # one after the other: the core waits for a branch
    assert count(loop, "fmla") == rounds * 64
    assert sum(line.startswith("ldr\td") for line in loop) == rounds * 16  # 8 pixels, 8 vectors of weights
    assert sum(line.startswith("ldr\tx") for line in loop) == rounds * 16
    assert not [line for line in loop if re.match(r"ld[rp]\s+q|st|.*\[sp", line)]
    assert len(loop) <= rounds * (64 + 3 * 16) + 4
    text = [re.sub(r"\s+", " ", line).replace("1b", "#0") for line in loop]
    assert rounds * 64 / cycles_in_order([parse(line) for line in text], RULES[name]) >= least


@pytest.mark.parametrize("name", ["cortex-a53", "cortex-a55", "cortex-a72", "cortex-a76"])
def test_depthwise_steps_keep_their_filter_in_registers(name):
    source = assembly(DEPTHWISE, find_core(name))
    inside = [step for step in written_out(source) if count(step, "fmla") + count(step, "fmul") == 63]
    assert inside, "no step of seven outputs by nine taps"
    for step in inside:
        loads = [line for line in step if re.match(r"ldu?r\s+[qd]\d+, \[x[0-4]\W", line)]
        assert len(loads) == 27  # each pixel once, no weight
        assert count(step, "smax") == count(step, "smin") == count(step, "st1") == 7
        assert not count(step, "fadd")
        assert not [line for line in step if "[sp" in line]
    for loop in innermost_loops(source):  # steps along a row: their filter is loaded before
        if any(count(loop, name) for name in ("fmla", "fmul")):
            outside = [
                line for line in loop if line not in {line for step in written_out(source) for line in step}
            ]
            assert not [line for line in outside if re.match(r"ld[rp]\s+q", line)]


@pytest.mark.parametrize("case", EVERY_KIND, ids=str)
def test_register_tiles_need_no_workspace(case):
    assert "Workspace" not in assembly(case)


def test_class_of_16_pixels_is_21_vector_operations_a_channel():
    source = assembly_of(argmax.define_resized((1, 33, 33, 21), (513, 512), "uint8"))
    loops = [loop for loop in innermost_loops(source) if count(loop, "fcmgt")]
    assert loops
    for loop in loops:
        assert count(loop, "fcmgt") == 4
        assert count(loop, "bit") == 8  # the value, and the channel that it is of
        assert count(loop, "fsub") + count(loop, "fmla") == 8  # a mix of two rows
        assert len(loop) <= 29
        assert not spills(loop)


IMAGES = {
    "argmax": argmax.define((1, 17, 33, 21), "int64"),
    "argmax_resized": argmax.define_resized((1, 17, 17, 21), (65, 65), "int64"),
    "planar": planar.define((1, 17, 33, 21)),
    "planar_resized": planar.define_resized((1, 17, 17, 21), (65, 65)),
    "concat": concat.define(99, [24, 21]),
}


@pytest.mark.parametrize("name", IMAGES)
def test_images_need_no_memory_from_the_runtime(name):
    assert "Workspace" not in assembly_of(IMAGES[name])


@pytest.mark.parametrize("name", ["cortex-a53", "cortex-a55", "cortex-a72", "cortex-a76"])
@pytest.mark.parametrize(
    ("case", "copies", "multiply_adds"),
    [
        (Case("conv", (1, 64, 14, 14), 64, WINDOW), 1, (56, 64, 72, 112)),
        (Case("stem", (1, 3, 224, 224), 32, Window((3, 3), (2, 2), (1, 1, 1, 1))), 2, (126, 144)),
        (Case("dense", (1, 1280), 1000), 1, (40, 80)),
    ],
    ids=str,
)
def test_sums_stay_in_registers_from_round_to_round(case, copies, multiply_adds, name):
    code = assembly(case, find_core(name))
    kernel = code[code.index("main_compute_:") :]
    kernel = kernel[: kernel.index(".Lfunc_end")]
    assert kernel.count("//APP") <= copies
    on_the_stack = re.findall(r"\s(?:st|ld)u?[rp]\s+q.*\[sp", kernel)
    assert len(on_the_stack) <= 2  # a panel's biases, from which each tile's sums start
    loops = [loop for loop in innermost_loops(kernel) if count(loop, "fmla")]
    assert any(count(loop, "fmla") in multiply_adds for loop in loops)
    for loop in loops:
        assert not [line for line in loop if line.startswith("st")]
        halves = [line for line in loop if re.match(r"ldu?r\s+[qd]", line)]
        assert len(halves) <= 1.03 * count(loop, "fmla")
