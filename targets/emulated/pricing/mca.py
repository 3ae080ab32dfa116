"""The throughput of blocks on an out-of-order core, by llvm-mca with the core's scheduling model."""

from __future__ import annotations

import json
import os
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from targets.emulated.pricing.decode import UNKNOWN
from targets.emulated.pricing.tools import Tool, newest_tool, run_tool
from targets.errors import DeviceError, UserError


@dataclass(frozen=True)
class Model:
    """A scheduling model: LLVM's -mcpu, and the first LLVM that has it."""

    cpu: str
    since: int


# A core that is not here is priced as the nearest it is like (targets/cores.py). LLVM schedules A76 to A78C
# as A57s, with 64-bit vector pipes, so they have Neoverse N1's model; X1 has V1's, A710 N2's, X3 V2's, each
# the server core made of it. Versions by trial: `fmla`'s throughput says that LLVM 14 has A57's model, 16 has
# N2's, and 19 has the others while 16 has not.
MODELS: dict[str, Model] = {
    "cortex-a57": Model("cortex-a57", 14),
    "cortex-a72": Model("cortex-a72", 14),
    "cortex-a76": Model("neoverse-n1", 19),
    "cortex-x1": Model("neoverse-v1", 19),
    "cortex-a710": Model("neoverse-n2", 16),
    "cortex-x3": Model("neoverse-v2", 19),
    "neoverse-n1": Model("neoverse-n1", 19),
    "neoverse-n2": Model("neoverse-n2", 16),
    "neoverse-v1": Model("neoverse-v1", 19),
    "neoverse-v2": Model("neoverse-v2", 19),
}

WARM_UP = 128
"""Instructions run before counting, and then counted, at least: the reorder buffer of these cores."""

SKIPS_UNSUPPORTED = 19  # the first LLVM of Debian's with --skip-unsupported-instructions
RETRIES = 40
PORTION = 250  # blocks in one run

_CALLS = re.compile(r"(bl|blr\w*|ret\w*|svc|brk|hlt|eret\w*) ?")


def cycles_by_mca(blocks: Sequence[Sequence[str]], model: Model) -> list[float]:
    """Cycles per execution of each block, given as instruction texts, when it follows itself."""
    tool = newest_tool("llvm-mca")
    if tool.version < model.since:
        raise UserError(
            f"{tool.path} (LLVM {tool.version}) has no scheduling model of {model.cpu}: "
            f"install LLVM {model.since} or newer (Debian: llvm-22)"
        )
    sizes: dict[int, list[int]] = defaultdict(list)  # blocks of like size go in one run: one repeat count
    for index, block in enumerate(blocks):
        if block:
            sizes[1 << (len(block) - 1).bit_length()].append(index)
    prices = [0.0] * len(blocks)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        runs = []
        for size, group in _portions(sizes):
            repeats = max(2, 2 * WARM_UP // size)  # the smallest of the group has size / 2 + 1 instructions
            texts = [[_priced_as(line) for line in blocks[index]] for index in group]
            warm, whole = (pool.submit(_run, tool, model, texts, times * repeats) for times in (1, 2))
            runs.append((group, repeats, warm, whole))
        for group, repeats, warm, whole in runs:
            for index, before, after in zip(group, warm.result(), whole.result(), strict=True):
                prices[index] = (after - before) / repeats
    return prices


def _portions(sizes: dict[int, list[int]]) -> Iterator[tuple[int, list[int]]]:
    """Groups small enough to keep every processor busy, the slowest first."""
    for size, group in sorted(sizes.items(), reverse=True):
        for start in range(0, len(group), PORTION):
            yield size, group[start : start + PORTION]


def _priced_as(line: str) -> str:
    """The text llvm-mca gets: it charges 100 cycles for a call, so calls and traps become branches."""
    if line == UNKNOWN:
        return "nop"
    return "b #0" if _CALLS.match(line) else line


def _run(tool: Tool, model: Model, blocks: list[list[str]], repeats: int) -> list[float]:
    """Total cycles of `repeats` executions of each block. A line llvm-mca refuses is made a nop."""
    lines = [line for number, block in enumerate(blocks) for line in _region(number, block)]
    arguments = ["-mtriple=aarch64", f"-mcpu={model.cpu}", f"-iterations={repeats}", "--json"]
    arguments += ["-instruction-info=false", "-resource-pressure=false"]
    if tool.version >= SKIPS_UNSUPPORTED:
        arguments.append("--skip-unsupported-instructions=lack-sched")
    messages = ""
    for _ in range(RETRIES):
        _, output, messages = run_tool(tool, arguments, "\n".join(lines) + "\n")
        refused = _refused(messages, lines)
        if not refused:
            return _totals(output, messages, len(blocks), tool)
        for at in refused:
            lines[at - 1] = "nop"
    raise DeviceError(f"{tool.path} refuses a program: {messages.strip().splitlines()[-1]}")


def _refused(messages: str, lines: list[str]) -> set[int]:
    """Numbers of the lines that failed to parse, or (before LLVM 19) that have no scheduling data."""
    parsing = {int(at) for at in re.findall(r"^<stdin>:(\d+):\d+: error", messages, re.M)}
    unsupported = re.search(r"error: found an unsupported instruction.*?instruction:([^\n]*)", messages, re.S)
    if parsing or not unsupported:
        return parsing
    text = " ".join(unsupported[1].split())
    return {at for at, line in enumerate(lines, 1) if line == text}


def _region(number: int, block: list[str]) -> list[str]:
    return [f"# LLVM-MCA-BEGIN {number}", *block, f"# LLVM-MCA-END {number}"]


def _totals(output: str, messages: str, count: int, tool: Tool) -> list[float]:
    try:
        regions = json.loads(output)["CodeRegions"]
        totals = {int(region["Name"]): float(region["SummaryView"]["TotalCycles"]) for region in regions}
    except (ValueError, KeyError) as error:
        said = (messages.strip().splitlines() or ["it said nothing"])[-1]
        raise DeviceError(f"{tool.path} priced nothing (LLVM 19 or newer may): {said}") from error
    return [totals.get(number, 0.0) for number in range(count)]  # a region of skipped lines is not listed
